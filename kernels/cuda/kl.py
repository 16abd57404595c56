"""KL divergence: a block per image."""

from . import contiguous, empty, empty_like, launch, launch_each


def kl_forward(mu, logvar):
    return _divergence(mu, logvar, None, 0.0)


def _divergence(mu, logvar, free, free_bits):
    """y (N,); each dimension marked in `free`, (P,) bool, counts as free_bits."""
    mu, logvar, N = contiguous(mu), contiguous(logvar), len(mu)
    y = empty((N,), mu.dtype)
    launch("kl_forward", N, mu, logvar, free, y, free_bits, mu.size // N)
    return y, (mu, logvar, free)


def kl_backward(dy, cache):
    mu, logvar, free = cache
    dmu, dlogvar = empty_like(mu), empty_like(mu)
    arrays = contiguous(dy), mu, logvar, free, dmu, dlogvar
    launch_each("kl_backward", mu.size, *arrays, mu.size // len(mu))
    return dmu, dlogvar
