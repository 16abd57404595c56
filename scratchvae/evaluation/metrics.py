"""Which codes a trained model uses, how well it reconstructs, and whether its decoder needs z.

Posterior collapse: the KL term is zero, its minimum, if q(z|x) = p(z) for every x. Then z has no
information about the image, the decoder ignores it, and no gradient makes the encoder use it again.
The signs: a KL near zero in most dimensions, and reconstructions that hardly change when noise
replaces their codes.

Sources: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519),
section 5, for active units; Bowman et al., "Generating sentences from a continuous space"
(arXiv:1511.06349), section 3, for collapse.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend import asnumpy
from ..data import is_binary, spread
from ..models import VAE, Model
from ..ops import mse_forward
from . import likelihood

FEW_IMAGES = 200  # enough to measure the effect of z
NEAR_ZERO = 0.01  # nats of a dimension; also a fraction of the images' variance
MOST = 0.9  # of the dimensions


class ReconstructionError(NamedTuple):
    """Per element, of images scaled to [0, 1]; see `reconstruction_error`."""

    mse: float
    psnr: float


class Effect(NamedTuple):
    """Mean squares per element, of images scaled to [0, 1]; see `effect_of_z`."""

    reconstruction: float  # against the images
    with_noise_for_z: float  # against the images
    change: float  # of one reconstruction against the other
    variance: float  # of the images: the error of the best single picture for all of them


def codes(model: Model, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar of q(z|x) for a data set, in evaluation mode.

    Parameters
    ----------
    model : VAE
    images : uint8 array (N, H, W) or (N, C, H, W)

    Returns
    -------
    mu, logvar : float64 array (N, *latent_shape)
        Or (N,), if one mu and logvar serve all positions of the latent grid of `skip`.

    Raises
    ------
    ValueError, TypeError
        If the model is no VAE, or the images have another shape or dtype.
    """
    if not isinstance(model, VAE):
        raise ValueError(f"codes: expected a VAE; {type(model).__name__} has no mu and logvar")
    with model.evaluating():
        all_batches = likelihood.model_batches("codes", model, images, batch_size)
        mu, logvar = zip(*(map(asnumpy, model.encode(x)[:2]) for x in all_batches), strict=True)
    return np.concatenate(mu).astype("float64"), np.concatenate(logvar).astype("float64")


def active_units(mu: np.ndarray, threshold: float = 0.01) -> int:
    """The number of dimensions of mu = E[z|x], (N > 1, ...), whose variance over the images exceeds
    `threshold`."""
    if len(mu) < 2:
        raise ValueError(f"active_units: expected at least 2 images, got {len(mu)}")
    return int((mu.var(axis=0) > threshold).sum())


def kl_per_dimension(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """KL(q(z|x) || N(0, I)) of each dimension, its mean over the data: (N, ...) -> (...), nats.
    They sum to the KL term of the loss (ops/kl.py)."""
    return _kl(mu, logvar).mean(axis=0)


def _kl(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    return 0.5 * (mu**2 + np.expm1(logvar) - logvar)


def reconstruction_error(
    model: Model, images: np.ndarray, batch_size: int = 500
) -> ReconstructionError:
    """The error of `model.reconstruct` (z = mu) over a data set: mse, the mean over all elements of
    all images; and psnr = 10 log10(1 / mse) in dB, that of the mean error. The mean of the images'
    own PSNRs is larger, and infinite if one image is perfect."""
    mse = float(_squared_errors(model, images, batch_size).mean())
    return ReconstructionError(mse, 10 * math.log10(1 / mse) if mse else math.inf)


def _squared_errors(model: Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """The mean squared error of each image's reconstruction at z = mu: (N,)."""
    all_batches = likelihood.model_batches("reconstruction_error", model, images, batch_size)
    return np.concatenate([_mean_squares(model, model.reconstruct(x), x) for x in all_batches])


def _mean_squares(model: Model, a: Any, b: Any) -> np.ndarray:
    """Of the differences of each image, on the scale of images in [0, 1]: (N,)."""
    low, high = model.data_range
    return asnumpy(mse_forward(a, b)[0]).astype("float64") / (high - low) ** 2


def per_image(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> dict[str, np.ndarray]:
    """How well the model fits each image, for example to find unusual ones.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
    rng : Generator
        Draws the noise of the -ELBO, as in `likelihood.neg_elbo`.

    Returns
    -------
    dict of float64 arrays (N,)
        neg_elbo, reconstruction (-log p(x|z)) and kl, in nats. A model without a likelihood has no
        neg_elbo, and as reconstruction the mean squared error at z = mu, of pixels in [0, 1]; an
        autoencoder has no kl either. If all dimensions share one mu and logvar (`skip`, latent
        "scalar"), kl counts it once, as the loss does, and neg_elbo once for each dimension.

    Raises
    ------
    ValueError, TypeError
        If there are no images, or they have another shape or dtype.
    """
    if likelihood.no_likelihood(model) is None:
        reconstruction, kl = likelihood.elbo_terms(model, images, rng, batch_size)
        neg_elbo = reconstruction + kl
        kl = kl / model.shared_codes
        return {"neg_elbo": neg_elbo, "reconstruction": reconstruction, "kl": kl}
    found = {"reconstruction": _squared_errors(model, images, batch_size)}
    if isinstance(model, VAE):
        kl = _kl(*codes(model, images, batch_size))  # (N, *latent_shape) or (N,)
        found["kl"] = kl.reshape(len(kl), -1).sum(axis=1)
    return found


def effect_of_z(model: Model, images: np.ndarray, rng: np.random.Generator) -> Effect:
    """Reconstruct images from their own codes and from standard normal noise.

    If the change is small compared with the variance, the decoder hardly uses z. `skip` uses the
    images' skips in both: a small error then means that it reconstructs from its skips, not from z.
    """
    (x,) = likelihood.model_batches("effect_of_z", model, images, len(images))
    noise = model.noise(len(x), rng)
    own = model.reconstruct(x)
    other = model.generate(noise, **({"skips_from": x} if model.has_skips else {}))
    pairs = (own, x), (other, x), (own, other), (x, 0 * x + x.mean(axis=0))
    return Effect(*(float(_mean_squares(model, a, b).mean()) for a, b in pairs))


def collapse_warning(kl: np.ndarray, effect: Effect, skips: bool = False) -> str | None:
    """The signs of posterior collapse in words, and what to do. None if most dimensions carry
    information and the reconstructions depend on z."""
    silent = kl < NEAR_ZERO
    unused = effect.change <= NEAR_ZERO * effect.variance
    seen = []
    if kl.ndim == 0 and silent:
        seen.append(f"the single mu and logvar of the latent grid carry only {kl:.2g} nats")
    elif silent.mean() >= MOST:
        seen.append(
            f"{silent.sum()} of {kl.size} latent dimensions carry less than {NEAR_ZERO} nats "
            f"each (KL {kl[silent].sum():.2g} of {kl.sum():.2f} nats in total)"
        )
    if unused:
        seen.append(
            "the decoder hardly uses z: random z changes the reconstruction by a mean square of "
            f"{effect.change:.2g}, while the variance of the images is {effect.variance:.2g}"
        )
    if not seen:
        return None
    if unused and skips:
        advice = "it can use the skips instead; with skips='none' it has only z"
    elif unused or silent.all():  # the decoder may still respond to a z without information
        advice = "this looks like posterior collapse: try a smaller KL weight or a KL warm-up"
    else:
        advice = (
            "the reconstruction still depends on z; for more information in z, try a smaller KL "
            "weight or a KL warm-up"
        )
    return f"{', and '.join(seen)}; {advice}"


def report(
    model: Model,
    images: np.ndarray,
    rng: np.random.Generator,
    nll_samples: int = 0,
    nll_images: int | None = None,
    grey_levels: bool = False,
    batch_size: int = 500,
) -> dict[str, Any]:
    """All metrics of a model on a data set, as plain numbers, strings and lists, ready for JSON.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
        At least 2; `binarize` them first for a likelihood of binary images.
    rng : Generator
        Spawns an independent generator for each metric that draws.
    nll_samples : int
        Number of samples K for importance sampling; 0 omits it.
    nll_images : int, optional
        Use only so many images for it, spread across the list. Default: all.
    grey_levels : bool
        As for `importance_curve`.

    Returns
    -------
    dict
        images, binary_pixels and reconstruction; for a VAE also kl, kl_per_dimension, active_units,
        effect_of_z (on up to 200 images across the list) and warning; neg_elbo and, by number of
        samples, nll, with the decoder_sigma of a squared error, or else no_likelihood, the reason.

    Raises
    ------
    ValueError, TypeError
        For fewer than 2 images or nll_images, nll_samples of a model without a likelihood, or
        images of another shape or dtype.
    """
    if len(images) < 2:
        raise ValueError(f"report: expected at least 2 images, got {len(images)}")
    if nll_samples and nll_images is not None and nll_images < 2:
        raise ValueError(f"report: nll_images: expected at least 2 images, got {nll_images}")
    problem = likelihood.no_likelihood(model)
    if nll_samples and problem:
        raise ValueError(f"report: nll_samples needs a likelihood, but {problem}")
    elbo_rng, nll_rng, effect_rng = rng.spawn(3)
    found: dict[str, Any] = {"images": len(images), "binary_pixels": is_binary(images)}
    if nll_samples:  # first: it may raise an error
        at = likelihood.powers_of_ten(nll_samples)
        few = images if nll_images is None else images[spread(nll_images, len(images))]
        curve = likelihood.importance_curve(model, few, at, nll_rng, batch_size, grey_levels)
        found["nll"] = {str(k): estimate._asdict() for k, estimate in curve.items()}
    if problem:
        found["no_likelihood"] = problem
    else:
        found["neg_elbo"] = likelihood.neg_elbo(model, images, elbo_rng, batch_size)._asdict()
        if model.decoder_distribution == "Gaussian":
            found["decoder_sigma"] = likelihood.gaussian_decoder(model).sigma
    error = reconstruction_error(model, images, batch_size)
    found["reconstruction"] = {"mse": error.mse, "psnr": error.psnr if error.mse else None}
    if isinstance(model, VAE):
        mu, logvar = codes(model, images, batch_size)
        kl = kl_per_dimension(mu, logvar)
        few = images[spread(FEW_IMAGES, len(images))]
        effect = effect_of_z(model, few, effect_rng)
        found |= {
            "kl": float(kl.sum()),
            "kl_per_dimension": kl.ravel().tolist(),
            "active_units": active_units(mu),
            "effect_of_z": effect._asdict(),
            "warning": collapse_warning(kl, effect, model.has_skips),
        }
    return found
