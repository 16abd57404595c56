"""What a trained model has become: which codes it uses, how well it draws, how probable its data.

    codes                 mu, logvar of a data set, for the next two
    active_units          dimensions whose E[z|x] = mu varies over the data
    kl_per_dimension      what each dimension of z tells about an image, in nats
    reconstruction_error  mean squared error and PSNR at z = mu
    report                all of these, with what likelihood.py, importance.py and collapse.py say

Source: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519),
section 5, for active units.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..backend import asnumpy
from ..data import is_binary
from ..models import VAE, Model, Skip, SquaredErrorVAE
from .collapse import collapse_warning, effect_of_z, mean_square
from .importance import importance_curve, powers_of_ten
from .likelihood import gaussian_decoder, model_batches, neg_elbo, no_likelihood

FEW_IMAGES = 200  # enough to see what z does


class ReconstructionError(NamedTuple):
    """Per element, of images scaled to [0, 1]; see `reconstruction_error`."""

    mse: float
    psnr: float


def codes(model: Model, images: np.ndarray, batch_size: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """mu and logvar of q(z|x) for a data set, in evaluation mode.

    Parameters
    ----------
    model : VAE
    images : uint8 array (N, H, W) or (N, C, H, W)

    Returns
    -------
    mu, logvar : float64 array (N, *latent_shape)
        As the encoder gives them: (N,) where `skip` has one of each for all places of its grid.

    Raises
    ------
    ValueError
        If the model is no VAE, or the images are not of its shape.
    """
    if not isinstance(model, VAE):
        raise ValueError(f"codes: expected a VAE; {type(model).__name__} has no mu and logvar")
    with model.evaluating():
        found = [model.encode(x)[:2] for x in model_batches("codes", model, images, batch_size)]
    mu, logvar = (
        np.concatenate([asnumpy(a) for a in parts]).astype("float64")
        for parts in zip(*found, strict=True)
    )
    return mu, logvar


def active_units(mu: np.ndarray, threshold: float = 0.01) -> int:
    """How many latent dimensions have a mean that varies over the data by more than `threshold`.

    Parameters
    ----------
    mu : array (N, ...)
        E[z|x] of each image; the variance is that over N. ValueError for fewer than two.
    """
    if len(mu) < 2:
        raise ValueError(f"active_units: a variance needs at least 2 images, got {len(mu)}")
    return int((mu.var(axis=0) > threshold).sum())


def kl_per_dimension(mu: np.ndarray, logvar: np.ndarray) -> np.ndarray:
    """KL(q(z|x) || N(0, I)) of each dimension, its mean over the data: (N, ...) -> (...), nats.

    They sum to the KL term of the loss (ops/kl.py).
    """
    return 0.5 * (mu**2 + np.expm1(logvar) - logvar).mean(axis=0)


def reconstruction_error(
    model: Model, images: np.ndarray, batch_size: int = 500
) -> ReconstructionError:
    """The error of `model.reconstruct` (z = mu) over a data set.

    Returns
    -------
    ReconstructionError
        mse, the mean over all elements of all images, scaled from the model's data_range to [0, 1];
        and psnr = 10 log10(1 / mse) in dB, infinite without an error. It is the PSNR of the mean
        error: the mean of the images' own PSNRs is larger, and infinite if one of them is perfect.
    """
    total = 0.0
    for x in model_batches("reconstruction_error", model, images, batch_size):
        total += mean_square(model, model.reconstruct(x), x) * len(x)
    mse = total / len(images)
    return ReconstructionError(mse, 10 * math.log10(1 / mse) if mse else math.inf)


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
        At least 2. They are taken as they are: `binarize` them before where that is wanted.
    rng : Generator
        Spawns a stream for each metric that draws: more samples of one change none of the others.
    nll_samples : int
        K of the importance sampling; 0 leaves it out.
    nll_images : int, optional
        Only the first so many images get it. By default all.
    grey_levels : bool
        As for `importance_curve`.

    Returns
    -------
    dict
        images, binary_pixels and reconstruction; for a VAE also kl, kl_per_dimension, active_units,
        effect_of_z (on up to 200 images) and warning; neg_elbo and, by number of samples, nll, with
        the decoder_sigma of a squared error, or else no_likelihood, the reason.

    Raises
    ------
    ValueError
        For fewer than 2 images; also if likelihoods by importance sampling are asked for where
        there are none, before anything is computed.
    """
    if len(images) < 2 or (nll_samples and nll_images is not None and nll_images < 2):
        raise ValueError(
            f"report: expected at least 2 images, got {len(images)} and nll_images={nll_images}"
        )
    problem = no_likelihood(model)
    if nll_samples and problem:
        raise ValueError(f"report: nll_samples={nll_samples}, but {problem}")
    elbo_rng, nll_rng, effect_rng = rng.spawn(3)
    found: dict[str, Any] = {"images": len(images), "binary_pixels": is_binary(images)}
    if nll_samples:  # first, for its refusals
        at = powers_of_ten(nll_samples)
        few = images[:nll_images]
        curve = importance_curve(model, few, at, nll_rng, batch_size, grey_levels)
        found["nll"] = {str(k): estimate._asdict() for k, estimate in curve.items()}
    if problem:
        found["no_likelihood"] = problem
    else:
        found["neg_elbo"] = neg_elbo(model, images, elbo_rng, batch_size)._asdict()
        if isinstance(model, SquaredErrorVAE):
            found["decoder_sigma"] = gaussian_decoder(model).sigma
    error = reconstruction_error(model, images, batch_size)
    found["reconstruction"] = {"mse": error.mse, "psnr": error.psnr if error.mse else None}
    if isinstance(model, VAE):
        found |= _use_of_z(model, images, effect_rng, batch_size)
    return found


def _use_of_z(
    model: VAE, images: np.ndarray, rng: np.random.Generator, batch_size: int
) -> dict[str, Any]:
    mu, logvar = codes(model, images, batch_size)
    kl = kl_per_dimension(mu, logvar)
    effect = effect_of_z(model, images[:FEW_IMAGES], rng)
    skips = isinstance(model, Skip) and model.skips != "none"
    return {
        "kl": float(kl.sum()),
        "kl_per_dimension": kl.ravel().tolist(),
        "active_units": active_units(mu),
        "effect_of_z": effect._asdict(),
        "warning": collapse_warning(kl, effect, skips),
    }
