"""The objective: one block. beta is a number or, in a graph, a 0-d array on the GPU."""

from . import contiguous, empty, empty_like, launch, launch_each, on_device


def elbo_forward(reconstruction, kl, beta):
    losses, beta = empty((3,), reconstruction.dtype), on_device(beta, "float64")
    launch("elbo_forward", 1, contiguous(reconstruction), contiguous(kl), losses, beta, len(kl))
    return (losses[0], losses[1], losses[2]), (reconstruction, beta)


def elbo_backward(dtotal, cache):
    reconstruction, beta = cache
    dreconstruction, dkl = empty_like(reconstruction), empty_like(reconstruction)
    launch_each("elbo_backward", len(dkl), dreconstruction, dkl, beta, float(dtotal))
    return dreconstruction, dkl
