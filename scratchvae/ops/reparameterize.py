"""The reparameterization trick: a sample of N(mu, exp(logvar)), differentiable in mu and logvar.

    z       = mu + std eps,   std = exp(logvar / 2),   eps ~ N(0, I)

    dmu     = dz
    dlogvar = dz eps std / 2

    mu, logvar, eps and z: one shape, any.  logvar is the log of the VARIANCE, hence the half.

By the chain rule dz reaches mu with factor 1 and logvar with d(std eps)/d(logvar) = eps std / 2.
The gradients of the KL term (ops/kl.py) are added to these two in the backward of the model.
The noise is an argument: the caller draws eps once, and forward and backward use the same numbers.
Source: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), section 2.4.
"""

from ..backend import accelerated, array_module
from .cases import Case


@accelerated("mu (...), logvar (...), eps (...)")
def reparameterize_forward(mu, logvar, eps):
    """z, cache: the formulas at the top of this file."""
    std = array_module(mu).exp(logvar / 2)
    z = mu + std * eps
    cache = (std, eps)
    return z, cache


@accelerated
def reparameterize_backward(dz, cache):
    """dmu, dlogvar."""
    std, eps = cache
    return dz.copy(), dz * eps * std / 2


CASES = [Case({"mu": (3, 4), "logvar": (3, 4), "eps": (3, 4)}, linear=("mu",), constants=("eps",))]
