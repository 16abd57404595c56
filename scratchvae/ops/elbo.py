"""The objective: the negative evidence lower bound, averaged over the batch.

    log p(x) >= ELBO(x) = E over z ~ q(z|x) of log p(x|z)  -  KL(q(z|x) || p(z))

    total           = 1/N * sum over n of  reconstruction[n] + beta kl[n]          (to minimise)

    dreconstruction = dtotal / N
    dkl             = dtotal beta / N

    reconstruction (N,): -log p(x[n]|z[n]) at one sample z (bce), or a squared error instead (mse)
    kl (N,): KL(q(z|x[n]) || p(z)) (kl)

With beta = 1 and `bce`, total is the -ELBO in nats per image; another beta makes it the objective
of a beta-VAE. The 1/N enters here and nowhere else in a VAE: bce, mse and kl are per image, and
backward starts with dtotal / N, so the weight gradients are plain sums over the batch.
Sources: Kingma & Welling (arXiv:1312.6114), equations 3 and 10; Higgins et al., "beta-VAE" (2017).
"""

from typing import Any, NamedTuple

from ..backend import accelerated, array_module, asnumpy, is_gpu_array
from ..notebook import html_table
from .cases import Case


class Losses(NamedTuple):
    """Means over the batch; total = reconstruction + beta * kl is what training minimises."""

    total: Any
    reconstruction: Any
    kl: Any

    def _repr_html_(self):
        """For a notebook. Only the unit of KL is known: a reconstruction may be a squared error."""
        numbers = [asnumpy(loss).round(4) for loss in self]
        return html_table([["total", "reconstruction", "KL (nats per image)"], numbers])


def elbo_arguments(reconstruction, kl, beta=1.0):
    """Make beta a float; check that a beta on the GPU is one float64."""
    if not is_gpu_array(beta):
        return reconstruction, kl, float(beta)
    if beta.ndim != 0 or beta.dtype != "float64":
        raise TypeError(f"beta on the GPU must be one float64, got {beta.dtype} of {beta.shape}")
    return reconstruction, kl, beta


def elbo_naive(reconstruction, kl, beta=1.0):
    """The second formula in plain loops."""
    N = len(reconstruction)
    return sum(reconstruction[n] + beta * kl[n] for n in range(N)) / N


@accelerated("reconstruction (N), kl (N)", arguments=elbo_arguments, result=Losses._make)
def elbo_forward(reconstruction, kl, beta):
    """losses, cache: the formulas at the top of this file. beta: a number or a 0-d GPU array."""
    mean_reconstruction, mean_kl = reconstruction.mean(), kl.mean()
    losses = mean_reconstruction + beta * mean_kl, mean_reconstruction, mean_kl
    cache = (reconstruction, beta)
    return losses, cache


@accelerated
def elbo_backward(dtotal, cache):
    """dreconstruction, dkl: both (N,). dtotal is a number, 1 in a training step."""
    reconstruction, beta = cache
    dreconstruction = array_module(reconstruction).full_like(
        reconstruction, dtotal / len(reconstruction)
    )
    return dreconstruction, beta * dreconstruction


CASES = [
    Case(
        {"reconstruction": (5,), "kl": (5,)},
        {"beta": 2.0},
        linear=("reconstruction", "kl"),
        mixes=True,
    )
]
