"""How probable a VAE finds images: the -ELBO, with its error, and what a likelihood needs.

    -ELBO(x) = E over z ~ q(z|x) of -log p(x|z)  +  KL(q(z|x) || p(z))      at least -log p(x)

log p(x|z) of a `BernoulliVAE` is minus its cross-entropy. Training a `SquaredErrorVAE` maximises
the ELBO of a Gaussian decoder whose deviation sigma its KL weight decides (scales.py); that is the
decoder meant here, and as its pixels are continuous the result is the log of a density, in the
units of the scaled pixels: it may be below zero, and compares only with others of that sigma.
importance.py goes from this bound to -log p(x) itself.

Source: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), section 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module, asnumpy, to_device
from ..data import batches
from ..gpu.graph import in_memory
from ..models import BernoulliVAE, Model, Skip, SquaredErrorVAE
from ..ops import kl_forward, reparameterize_forward
from .scales import Scales, loss_scales


class Estimate(NamedTuple):
    """A mean over images, in nats per image, and how far off another draw of images may be.

    The standard error is std / sqrt(N), std with N - 1; nan for a single image. It knows nothing
    of a bias that all images share, such as that of a small K.
    """

    value: float
    standard_error: float
    images: int


def no_likelihood(model: Model) -> str | None:
    """Why this model gives images no likelihood, or None if it does."""
    if not isinstance(model, BernoulliVAE | SquaredErrorVAE):
        return f"{type(model).__name__} is no VAE: its codes have no distribution, nor have images"
    if isinstance(model, Skip) and model.skips != "none":
        return (
            f"the decoder of Skip sees the image itself through its skips ({model.skips!r}): what "
            "it gives is no p(x|z), and no density of images; build it with skips='none'"
        )
    if isinstance(model, SquaredErrorVAE) and not model.kl_weight > 0:
        return (
            f"a squared error has a likelihood by its KL weight, which is {model.kl_weight}: "
            "the sigma of its Gaussian decoder would be 0"
        )
    return None


def gaussian_decoder(model: SquaredErrorVAE) -> Scales:
    """The scales of this model's loss at beta = 1: its sigma makes that loss the -ELBO.

    With one mu and logvar for all D places of the latent grid (`skip`, latent "scalar"), the loss
    holds the KL of one place, where the -ELBO has that of all: its weight there is 1/D of it.
    """
    D = prod(model.latent_shape) if isinstance(model, Skip) and model.latent == "scalar" else 1
    return loss_scales(prod(model.image_shape), mean=model.kl_weight / D, beta=1)


def neg_elbo(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> Estimate:
    """The -ELBO over a data set: one sample z per image, KL weight 1, in evaluation mode.

    Parameters
    ----------
    model : BernoulliVAE or SquaredErrorVAE
        Whatever KL weight it is trained with. For a squared error, the Gaussian decoder's, see the
        top of this file.
    images : uint8 array (N, H, W) or (N, C, H, W)
        For a Bernoulli decoder, grey levels count as probabilities; that is the usual test loss,
        but no bound on a likelihood: for one, `binarize` them first.
    rng : Generator
        Draws `model.noise` for each batch in turn, as `train.evaluate_sampled` does.

    Returns
    -------
    Estimate
        In nats per image.

    Raises
    ------
    ValueError
        If the model has no likelihood, the images are not of its shape, or a result is not finite.
    """
    check_model("neg_elbo", model)
    values = []
    with model.evaluating():
        for x in model_batches("neg_elbo", model, images, batch_size):
            eps = model.noise(len(x), rng)
            values.append(in_memory(partial(_neg_elbo, model, x, eps), "neg_elbo", model, len(x)))
    return estimate("neg_elbo", np.concatenate(values))


def _neg_elbo(model: Any, x: Any, eps: Any) -> np.ndarray:
    mu, logvar = posterior(model, x)
    z = reparameterize_forward(mu, logvar, eps)[0]
    kl = kl_forward(mu, logvar)[0]  # (N,)
    return neg_log_p(model, x, z) + asnumpy(kl).astype("float64")


def neg_log_p(model: Any, x: Any, z: Any) -> np.ndarray:
    """-log p(x|z) in nats: (N,), float64 on the host."""
    error = asnumpy(model.error_forward(model.decode(z), x)[0]).astype("float64")
    if isinstance(model, BernoulliVAE):
        return error
    return gaussian_decoder(model).neg_elbo(error, 0.0)  # type: ignore[arg-type, return-value]


def posterior(model: Any, x: Any) -> tuple[Any, Any]:
    """mu, logvar of q(z|x), (N, *latent_shape) each; one number for all places is spread."""
    shape = (len(x), *model.latent_shape)
    mu, logvar, *_ = model.encode(x)
    if mu.shape == shape:
        return mu, logvar
    spread = (len(x), *(1,) * len(model.latent_shape))
    broadcast_to = array_module(mu).broadcast_to
    return broadcast_to(mu.reshape(spread), shape), broadcast_to(logvar.reshape(spread), shape)


def model_batches(name: str, model: Model, images: np.ndarray, batch_size: int) -> Iterator[Any]:
    """The images in order, as the model takes them: (B, C, H, W) floats on its device."""
    found = batches(images, batch_size, data_range=model.data_range, dtype=model.dtype)
    shape = (1, *images.shape[1:]) if images.ndim == 3 else images.shape[1:]
    if shape != model.image_shape or not len(images):
        raise ValueError(
            f"{name}: expected at least one image of shape {model.image_shape}, got {images.shape}"
        )
    return (to_device(x, model.device) for x in found)


def check_model(name: str, model: Model) -> None:
    if problem := no_likelihood(model):
        raise ValueError(f"{name}: {problem}")


def estimate(name: str, values: np.ndarray) -> Estimate:
    """The mean of one float64 number per image."""
    N = len(values)
    if lost := N - int(np.isfinite(values).sum()):
        raise ValueError(f"{name}: {lost} of {N} images have no finite value; look at the weights")
    error = float(values.std(ddof=1)) / N**0.5 if N > 1 else float("nan")
    return Estimate(float(values.mean()), error, N)
