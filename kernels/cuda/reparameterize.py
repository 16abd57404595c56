"""Reparameterization. Backward computes exp again, which is faster than storing std."""

from . import contiguous, elementwise, empty_like, launch_each


def reparameterize_forward(mu, logvar, eps):
    return elementwise("reparameterize_forward", mu, logvar, eps), (logvar, eps)


def reparameterize_backward(dz, cache):
    inputs = [contiguous(a) for a in (dz, *cache)]
    dmu, dlogvar = empty_like(dz), empty_like(dz)
    launch_each("reparameterize_backward", dz.size, *inputs, dmu, dlogvar)
    return dmu, dlogvar
