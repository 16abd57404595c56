"""KL divergence with free bits: one launch finds the free dimensions, then the kernels of kl.cu."""

from . import blocks_for, contiguous, empty, launch
from .kl import _divergence, kl_backward


def kl_free_bits_forward(mu, logvar, free_bits):
    mu, logvar, N, P = contiguous(mu), contiguous(logvar), len(mu), mu.size // len(mu)
    free = empty((P,), "bool")
    launch("find_free", blocks_for(P, 32), mu, logvar, free, free_bits, N, P, threads=1024)
    return _divergence(mu, logvar, free, free_bits)


kl_free_bits_backward = kl_backward
