"""Kullback-Leibler divergence of a diagonal Gaussian from N(0, I), in nats per image.

    y[n]    = KL(N(mu, exp(logvar)) || N(0, I))
            = -1/2 sum over latent dimensions of  1 + logvar - mu^2 - exp(logvar)

    dmu     = dy[n] mu
    dlogvar = dy[n] (exp(logvar) - 1) / 2

    mu, logvar (N, ...)  ->  y (N,)

Near logvar = 0 the difference exp(logvar) - 1 loses digits; expm1 computes it without that loss.
Source: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), appendix B.
"""

import math

from ..backend import accelerated, array_module
from .cases import Case


def kl_naive(mu, logvar):
    """The first formula in plain loops."""
    y = array_module(mu).zeros(len(mu), mu.dtype)
    for n in range(len(mu)):
        for m, v in zip(mu[n].ravel(), logvar[n].ravel(), strict=True):
            y[n] += -0.5 * (1 + v - m**2 - math.exp(v))
    return y


@accelerated("mu (N, ...), logvar (N, ...)")
def kl_forward(mu, logvar):
    """y, cache: the formulas at the top of this file."""
    var_minus_1 = array_module(mu).expm1(logvar)
    y = 0.5 * (mu**2 + var_minus_1 - logvar).sum(axis=tuple(range(1, mu.ndim)))  # (N,)
    cache = (mu, var_minus_1)
    return y, cache


@accelerated
def kl_backward(dy, cache):
    """dmu, dlogvar."""
    mu, var_minus_1 = cache
    dy = dy.reshape(-1, *(1,) * (mu.ndim - 1))  # (N, 1, ...)
    return dy * mu, dy * var_minus_1 / 2


CASES = [Case({"mu": (3, 4), "logvar": (3, 4)})]
