"""The objective: one block. beta is a number or, in a graph, an array of one on the device."""

from . import blocks_for, contiguous, empty, launch


def elbo_forward(reconstruction, kl, beta):
    losses = empty((3,), reconstruction.dtype)
    arrays = contiguous(reconstruction), contiguous(kl), losses
    launch("elbo", "elbo_forward", 1, *arrays, *_moving(beta), len(kl))
    cache = (reconstruction, beta)
    return (losses[0], losses[1], losses[2]), cache


def elbo_backward(dtotal, cache):
    reconstruction, beta = cache
    dreconstruction = empty(reconstruction.shape, reconstruction.dtype)
    dkl = empty(reconstruction.shape, reconstruction.dtype)
    beta_at, beta = _moving(beta)
    N = len(dkl)
    arguments = dreconstruction, dkl, beta_at, float(dtotal), beta, N
    launch("elbo", "elbo_backward", blocks_for(N), *arguments)
    return dreconstruction, dkl


def _moving(beta):
    """Where beta lies on the device, or null; and its value."""
    return (beta, 0.0) if hasattr(beta, "dtype") else (None, beta)
