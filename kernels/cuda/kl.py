"""KL divergence: a block for each image."""

from . import blocks_for, contiguous, empty, empty_like, launch


def kl_forward(mu, logvar):
    mu, logvar = contiguous(mu), contiguous(logvar)
    y = empty((len(mu),), mu.dtype)
    launch("kl", "kl_forward", len(mu), mu, logvar, y, mu.size // len(mu))
    cache = (mu, logvar)
    return y, cache


def kl_backward(dy, cache):
    mu, logvar = cache
    dmu, dlogvar = empty_like(mu), empty_like(mu)
    arrays = contiguous(dy), mu, logvar, dmu, dlogvar
    launch("kl", "kl_backward", blocks_for(mu.size), *arrays, mu.size // len(mu), mu.size)
    return dmu, dlogvar
