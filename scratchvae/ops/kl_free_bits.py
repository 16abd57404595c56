"""The KL divergence of ops/kl.py with a floor under each latent dimension, in nats per image.

    KL[n,j] = -1/2 (1 + logvar - mu^2 - exp(logvar))    at latent dimension j of image n
    mean[j] = average of KL[n,j] over the batch
    y[n]    = sum over j of  free_bits, where mean[j] < free_bits
                             KL[n,j],   elsewhere

    dmu     = 0, where mean[j] < free_bits;  elsewhere dy[n] mu
    dlogvar = 0, where mean[j] < free_bits;  elsewhere dy[n] (exp(logvar) - 1) / 2

    mu, logvar (N, ...), free_bits in nats  ->  y (N,);  shape (N,) means one dimension

The average of y is therefore the sum over j of max(free_bits, mean[j]). The gradient pulls no
dimension that costs less than free_bits towards the prior, so the dimension does not collapse
before the decoder uses it. The floor applies to the batch average. free_bits = 0 gives `kl`.
Source: Kingma et al., "Improving variational inference with inverse autoregressive flow"
(arXiv:1606.04934), equation 15, with a group for each dimension.
"""

import math

from ..backend import accelerated, array_module
from .cases import Case, far_and_near


def kl_free_bits_arguments(mu, logvar, free_bits):
    """Check that free_bits is a finite number of at least 0; make it a float."""
    if not 0 <= free_bits < math.inf:
        raise ValueError(f"free_bits must be a number of at least 0, got {free_bits}")
    return mu, logvar, float(free_bits)


def kl_free_bits_naive(mu, logvar, free_bits):
    """The first three formulas in plain loops, a latent dimension at a time."""
    N = len(mu)
    y = array_module(mu).zeros(N, mu.dtype)
    for m, v in zip(mu.reshape(N, -1).T, logvar.reshape(N, -1).T, strict=True):  # (N,) each
        kl = [-0.5 * (1 + v[n] - m[n] ** 2 - math.exp(v[n])) for n in range(N)]
        mean = sum(kl) / N
        for n in range(N):
            y[n] += free_bits if mean < free_bits else kl[n]
    return y


@accelerated("mu (N, ...), logvar (N, ...)", arguments=kl_free_bits_arguments)
def kl_free_bits_forward(mu, logvar, free_bits):
    """y, cache: the formulas at the top of this file."""
    xp = array_module(mu)
    var_minus_1 = xp.expm1(logvar)
    kl = 0.5 * (mu**2 + var_minus_1 - logvar)  # (N, ...)
    free = kl.mean(axis=0).real < free_bits  # (...); false for NaN, so that NaN stays in y
    y = xp.where(free, free_bits, kl).sum(axis=tuple(range(1, mu.ndim)))  # (N,)
    cache = (mu, var_minus_1, free)
    return y, cache


@accelerated
def kl_free_bits_backward(dy, cache):
    """dmu, dlogvar."""
    mu, var_minus_1, free = cache
    dy = dy.reshape(-1, *(1,) * (mu.ndim - 1))  # (N, 1, ...)
    dkl = array_module(dy).where(free, 0, dy)  # (N, ...)
    return dkl * mu, dkl * var_minus_1 / 2


CASES = [
    Case(
        {"mu": (3, 4), "logvar": (3, 4)},
        {"free_bits": 0.3},
        draw={"mu": far_and_near, "logvar": far_and_near},
        mixes=True,
    )
]
