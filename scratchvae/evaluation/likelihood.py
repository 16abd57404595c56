"""The likelihood of images under a VAE: the -ELBO, and -log p(x) by importance sampling.

    -ELBO(x)   = E over z ~ q(z|x) of -log p(x|z)  +  KL(q(z|x) || p(z))      at least -log p(x)

    -log p(x) ~= -log( 1/K * sum over k of w[k] ),   w[k] = p(x|z[k]) p(z[k]) / q(z[k]|x)

    z[k] = mu + exp(logvar/2) eps[k], K draws from q(z|x). The mean of the weights w has the
    expectation p(x); its logarithm lies below log p(x) on average, and rises towards it with K. K =
    1 gives the -ELBO again, its KL term estimated from the draw.

    log w[k]   = log p(x|z) + sum over dimensions of  (-z^2 + eps^2 + logvar) / 2

    log p(z) = sum of -z^2/2 - log(2 pi)/2, and since (z - mu)^2 / exp(logvar) = eps^2, log q(z|x) =
    sum of -eps^2/2 - logvar/2 - log(2 pi)/2: the 2 pi cancels.

log p(x|z) of a `BernoulliVAE` is minus its cross-entropy. A `SquaredErrorVAE` has a Gaussian
decoder whose standard deviation sigma follows from the KL weight (scales.py). Its pixels are
continuous, so the result is minus the log of a density over the scaled pixels: it may be below
zero, and can be compared only with results for the same sigma.

Sources: Kingma & Welling, "Auto-Encoding Variational Bayes" (arXiv:1312.6114), section 2; Burda,
Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519), equation 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from math import prod
from numbers import Integral
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module, asnumpy, to_device
from ..data import batches, is_binary
from ..gpu.graph import in_memory
from ..models import Model
from ..ops import kl_forward, reparameterize_forward
from ..output import progress
from .scales import Scales, loss_scales


class Estimate(NamedTuple):
    """A mean over images, in nats per image, and its standard error: std / sqrt(N), nan for N = 1.
    The error does not cover a bias that all images share, such as that of a small K."""

    value: float
    standard_error: float
    images: int


def neg_elbo(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> Estimate:
    """The -ELBO over a data set: one sample z per image, KL weight 1, in evaluation mode.

    Parameters
    ----------
    model : BernoulliVAE or SquaredErrorVAE
    images : uint8 array (N, H, W) or (N, C, H, W)
        `binarize` them for a Bernoulli decoder: for grey levels the value bounds no likelihood.
    rng : Generator
        Draws the noise of each batch in turn.

    Returns
    -------
    Estimate
        In nats per image.

    Raises
    ------
    ValueError, TypeError
        If the model has no likelihood, the images have another shape or dtype, or a result is not
        finite.
    """
    return _estimate("neg_elbo", np.add(*elbo_terms(model, images, rng, batch_size)))


def elbo_terms(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> tuple[np.ndarray, np.ndarray]:
    """The two terms of the -ELBO of each image: -log p(x|z) at one sample z, and the KL term.

    Arguments and errors as for `neg_elbo`; float64 arrays (N,), in nats.
    """
    _check_model("neg_elbo", model)
    terms = []
    with model.evaluating():
        for x in model_batches("neg_elbo", model, images, batch_size):
            eps = model.noise(len(x), rng)
            work = partial(_elbo_terms, model, x, eps)
            terms.append(in_memory(work, "neg_elbo", model, len(x)))
    neg_log_p, kl = np.concatenate(terms, axis=1)  # (2, N)
    return neg_log_p, kl


def _elbo_terms(model: Any, x: Any, eps: Any) -> np.ndarray:
    mu, logvar = posterior(model, x)
    z = reparameterize_forward(mu, logvar, eps)[0]
    kl = kl_forward(mu, logvar)[0]  # (N,)
    return np.stack([_neg_log_p(model, x, z), asnumpy(kl).astype("float64")])


def importance_curve(
    model: Model,
    images: np.ndarray,
    at: Sequence[int],
    rng: np.random.Generator,
    chunk_size: int = 500,
    grey_levels: bool = False,
) -> dict[int, Estimate]:
    """-log p(x) over a data set by importance sampling, in evaluation mode, under a progress bar.

    Parameters
    ----------
    model : BernoulliVAE or SquaredErrorVAE
    images : uint8 array (N, H, W) or (N, C, H, W)
    at : sequence of int
        Numbers of samples, such as [1000]. The estimate at k uses each image's first k samples: on
        average it falls with k, towards -log p(x).
    rng : Generator
        Draws `model.noise(N * K, rng)`, K = max(at), image by image, whatever the chunk size.
    chunk_size : int
        How many codes are decoded at once; it bounds the memory.
    grey_levels : bool
        Allow grey levels with a Bernoulli decoder, as probabilities; the result cannot be compared
        with likelihoods of binary images.

    Returns
    -------
    dict of int to Estimate
        By number of samples, ascending; in nats per image.

    Raises
    ------
    ValueError, TypeError
        As for `neg_elbo`; also for grey levels, or if `at` or chunk_size is invalid.
    """
    name = "importance sampling"
    _check_model(name, model)
    if not at or not all(isinstance(k, Integral) and k >= 1 for k in (*at, chunk_size)):
        raise ValueError(
            f"{name}: expected numbers of samples and a chunk_size of at least 1, got {at} and "
            f"{chunk_size}"
        )
    if model.decoder_distribution == "Bernoulli" and not grey_levels and not is_binary(images):
        raise ValueError(
            f"{name}: a Bernoulli decoder needs binary images (bytes 0 and 255), but these have "
            "grey levels: binarize(images, rng), or pass grey_levels=True to treat them as "
            "probabilities (on the command line: train with --binarize, or pass --grey-levels)"
        )
    marks = sorted({int(k) for k in at})
    samples, nll = marks[-1], []
    together = max(1, chunk_size // samples)  # images whose samples share a chunk
    with model.evaluating(), progress(None, name, total=len(images)) as bar:
        for x in model_batches(name, model, images, together):
            mu, logvar = posterior(model, x)
            chunks = []
            for start in range(0, samples, chunk_size):
                eps = model.noise(len(x) * min(chunk_size, samples - start), rng)
                work = partial(_log_weights, model, x, mu, logvar, eps)
                chunks.append(in_memory(work, name, model, len(eps)))
            log_w = np.hstack(chunks)  # (images, samples)
            with np.errstate(invalid="ignore"):  # _estimate reports what is not finite
                log_sums = [np.logaddexp.reduce(log_w[:, :k], axis=1) for k in marks]
            nll.append(np.log(marks)[:, None] - log_sums)  # (marks, images)
            bar.update(len(x))
    values = np.concatenate(nll, axis=1)  # (marks, N)
    return {k: _estimate(name, row) for k, row in zip(marks, values, strict=True)}


def _log_weights(model: Any, x: Any, mu: Any, logvar: Any, eps: Any) -> np.ndarray:
    """log w of the formula above, the same number of samples for each image: (N, samples)."""
    N, samples = len(x), len(eps) // len(x)
    x, mu, logvar = (a.repeat(samples, axis=0) for a in (x, mu, logvar))  # as eps: image by image
    z = reparameterize_forward(mu, logvar, eps)[0]
    log_ratio = ((eps**2 - z**2 + logvar) / 2).reshape(len(z), -1).sum(axis=1)
    log_w = asnumpy(log_ratio).astype("float64") - _neg_log_p(model, x, z)
    return log_w.reshape(N, samples)


def powers_of_ten(samples: int) -> list[int]:
    """1, 10, 100, ..., and `samples` itself: numbers for a curve."""
    return [*(10**i for i in range(len(str(samples))) if 10**i < samples), samples]


def no_likelihood(model: Any) -> str | None:
    """Why this model has no likelihood of images; None if it has one."""
    name = type(model).__name__
    if model.decoder_distribution is None:
        return f"{name} is not a VAE: it defines no distribution of codes or images"
    if model.has_skips:
        return (
            f"the decoder of {name} sees the image itself through its skips ({model.skips!r}), so "
            "its output is not p(x|z); build the model with skips='none'"
        )
    if model.decoder_distribution == "Gaussian" and not model.kl_weight > 0:
        return (
            f"a KL weight of {model.kl_weight} would mean sigma = 0 for the Gaussian decoder of a "
            "squared error: train with a larger KL weight"
        )
    return None


def gaussian_decoder(model: Any) -> Scales:
    """The scales of a `SquaredErrorVAE`'s loss at beta = 1: its sigma makes that loss the -ELBO.

    If all D positions of the latent grid share one mu and logvar (`skip`, latent "scalar"), the
    loss holds the KL of one position and the -ELBO that of all: the KL weight is 1/D of the loss's.
    """
    return loss_scales(prod(model.image_shape), mean=model.kl_weight / model.shared_codes, beta=1)


def posterior(model: Any, x: Any) -> tuple[Any, Any]:
    """mu, logvar of q(z|x), (N, *latent_shape) each; a single number is repeated over the grid."""
    shape, grid = (len(x), *model.latent_shape), (1,) * len(model.latent_shape)
    mu, logvar, *_ = model.encode(x)
    if mu.shape != shape:
        repeated = array_module(mu).broadcast_to
        mu, logvar = (repeated(a.reshape(len(x), *grid), shape) for a in (mu, logvar))
    return mu, logvar


def _neg_log_p(model: Any, x: Any, z: Any) -> np.ndarray:
    """-log p(x|z) in nats: (N,), float64 on the host."""
    error = asnumpy(model.error_forward(model.decode(z), x)[0]).astype("float64")
    if model.decoder_distribution == "Bernoulli":
        return error
    return gaussian_decoder(model).neg_elbo(error, 0.0)


def model_batches(name: str, model: Model, images: np.ndarray, batch_size: int) -> Iterator[Any]:
    """The images in order, as the model expects them: (B, C, H, W) floats on its device."""
    found = batches(images, batch_size, data_range=model.data_range, dtype=model.dtype)
    shape = (1, *images.shape[1:]) if images.ndim == 3 else images.shape[1:]
    if shape != model.image_shape:
        raise ValueError(
            f"{name}: expected at least one image of shape {model.image_shape}, got {images.shape}"
        )
    return (to_device(x, model.device) for x in found)


def _check_model(name: str, model: Model) -> None:
    if problem := no_likelihood(model):
        raise ValueError(f"{name}: {problem}")


def _estimate(name: str, values: np.ndarray) -> Estimate:
    """The mean of one float64 number per image."""
    N = len(values)
    if lost := N - int(np.isfinite(values).sum()):
        raise ValueError(
            f"{name}: the value of {lost} of {N} images is not finite; check the weights"
        )
    error = float(values.std(ddof=1)) / N**0.5 if N > 1 else float("nan")
    return Estimate(float(values.mean()), error, N)
