"""KL divergence with free bits: a launch finds the free dimensions, another has a block for each
image."""

from . import blocks_for, contiguous, empty, empty_like, launch


def kl_free_bits_forward(mu, logvar, free_bits):
    mu, logvar, N, P = contiguous(mu), contiguous(logvar), len(mu), mu.size // len(mu)
    free, y = empty((P,), "bool"), empty((N,), mu.dtype)
    arguments = mu, logvar, free, free_bits, N, P
    launch("kl_free_bits", "find_free", blocks_for(P, 32), *arguments, threads=1024)
    launch("kl_free_bits", "kl_free_bits_forward", N, mu, logvar, free, y, free_bits, P)
    cache = (mu, logvar, free)
    return y, cache


def kl_free_bits_backward(dy, cache):
    mu, logvar, free = cache
    dmu, dlogvar = empty_like(mu), empty_like(mu)
    arrays = contiguous(dy), mu, logvar, free, dmu, dlogvar
    sizes = free.size, mu.size
    launch("kl_free_bits", "kl_free_bits_backward", blocks_for(mu.size), *arrays, *sizes)
    return dmu, dlogvar
