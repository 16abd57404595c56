"""Mean and log of the variance: forward a block per image, backward a thread per value."""

import numpy as np

from . import blocks_for, contiguous, empty, empty_like, launch


def mean_logvar_forward(x, eps):
    x, N, P = contiguous(x), len(x), x.size // len(x)
    y = empty((2, N), x.dtype)
    mean, var_plus_eps = empty((N,), np.float64), empty((N,), np.float64)
    launch("mean_logvar", "mean_logvar_forward", N, x, eps, y, mean, var_plus_eps, N, P)
    cache = (x, mean, var_plus_eps)
    return y, cache


def mean_logvar_backward(dy, cache):
    x, mean, var_plus_eps = cache
    dy, dx, N, P = contiguous(dy), empty_like(x), len(x), x.size // len(x)
    arguments = dy, x, mean, var_plus_eps, dx, dx.size, N, P
    launch("mean_logvar", "mean_logvar_backward", blocks_for(dx.size), *arguments)
    return dx
