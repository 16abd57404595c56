"""-log p(x) of a VAE by importance sampling.

    -log p(x) ~= -log( 1/K * sum over k of w[k] ),   w[k] = p(x|z[k]) p(z[k]) / q(z[k]|x)

    z[k] = mu + exp(logvar/2) eps[k], K draws from q(z|x). The mean of the weights w has p(x) for
    its expectation; its logarithm lies below log p(x) on average, and rises towards it with K. With
    K = 1 this is the -ELBO once more, its KL term estimated from the draw.

    log w[k]   = log p(x|z) + sum over dimensions of  (-z^2 + eps^2 + logvar) / 2

    log p(z) = sum of -z^2/2 - log(2 pi)/2, and since (z - mu)^2 / exp(logvar) = eps^2, log q(z|x) =
    sum of -eps^2/2 - logvar/2 - log(2 pi)/2: the 2 pi cancels.

Which p(x|z) a model has: likelihood.py.
Source: Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519), eq. 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np
from tqdm import tqdm

from ..backend import asnumpy
from ..data import is_binary
from ..gpu.graph import in_memory
from ..models import BernoulliVAE, Model
from ..ops import reparameterize_forward
from .likelihood import Estimate, check_model, estimate, model_batches, neg_log_p, posterior


def importance_nll(
    model: Model,
    images: np.ndarray,
    samples: int,
    rng: np.random.Generator,
    chunk_size: int = 500,
    grey_levels: bool = False,
) -> Estimate:
    """-log p(x) over a data set by importance sampling, `samples` codes for each image; arguments
    and errors as for `importance_curve`, which has the estimates with fewer samples, too."""
    return importance_curve(model, images, [samples], rng, chunk_size, grey_levels)[samples]


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
        The numbers of samples. The estimate at k is that of each image's first k, so that one sees
        what more samples bring: on average the estimates fall with k, towards -log p(x) from above.
    rng : Generator
        All chunks together draw `model.noise(N * K, rng)`, K the largest of `at`: image after image
        and for each its K samples, whatever the chunk size.
    chunk_size : int
        How many codes are decoded at once, of one image or of several. It bounds the memory.
    grey_levels : bool
        Take grey levels for probabilities where the decoder is Bernoulli. By default they are
        refused: the result is not comparable with likelihoods of binary images.

    Returns
    -------
    dict of int to Estimate
        By number of samples, ascending; in nats per image.

    Raises
    ------
    ValueError
        If the model has no likelihood, the images are not of its shape or have grey levels for a
        Bernoulli decoder, `at` or chunk_size hold no counts of at least 1, or a result is not
        finite.
    """
    name = "importance sampling"
    check_model(name, model)
    counts = (*at, chunk_size)
    if not at or not all(isinstance(k, Integral) and k >= 1 for k in counts):
        raise ValueError(
            f"{name}: expected numbers of samples and a chunk_size of at least 1, got {at} and "
            f"{chunk_size}"
        )
    if isinstance(model, BernoulliVAE) and not grey_levels and not is_binary(images):
        raise ValueError(
            f"{name}: a Bernoulli decoder has likelihoods of 0 and 255, the images hold other "
            "bytes: binarize(images, rng), or say grey_levels=True to take bytes for probabilities"
        )
    marks = sorted({int(k) for k in at})
    samples, nll = marks[-1], []
    together = max(1, chunk_size // samples)  # images whose samples share a chunk
    with model.evaluating(), tqdm(total=len(images), desc=name, leave=False, disable=None) as bar:
        for x in model_batches(name, model, images, together):
            nll.append(_curve(model, x, marks, chunk_size, rng))
            bar.update(len(x))
    columns = np.concatenate(nll).T  # (marks, N)
    return {k: estimate(name, column) for k, column in zip(marks, columns, strict=True)}


def powers_of_ten(samples: int) -> list[int]:
    """1, 10, 100, ..., and `samples` itself: numbers for a curve."""
    return [*(10**i for i in range(len(str(samples))) if 10**i < samples), samples]


def _curve(
    model: Any, x: Any, marks: list[int], chunk_size: int, rng: np.random.Generator
) -> np.ndarray:
    """-log p(x) of each image after so many samples: (N, marks)."""
    mu, logvar = posterior(model, x)
    N, samples = len(x), marks[-1]
    log_sum, found = np.full((N, 1), -np.inf), []
    for start in range(0, samples, chunk_size):
        count = min(chunk_size, samples - start)
        eps = model.noise(N * count, rng)
        work = partial(_log_weights, model, x, mu, logvar, eps)
        log_w = in_memory(work, "importance sampling", model, N * count)  # (N, count)
        # column j: the log of the sum of all weights up to sample start + j
        with np.errstate(invalid="ignore"):  # `estimate` says what is not finite
            log_sum = np.logaddexp.accumulate(np.hstack([log_sum[:, -1:], log_w]), axis=1)
        found += [np.log(k) - log_sum[:, k - start] for k in marks if 0 < k - start <= count]
    return np.stack(found, axis=1)


def _log_weights(model: Any, x: Any, mu: Any, logvar: Any, eps: Any) -> np.ndarray:
    """log w of the last formula above, the same number of samples for each image: (N, samples)."""
    N, samples = len(x), len(eps) // len(x)
    x, mu, logvar = (a.repeat(samples, axis=0) for a in (x, mu, logvar))  # as eps: image by image
    z = reparameterize_forward(mu, logvar, eps)[0]
    log_ratio = ((eps**2 - z**2 + logvar) / 2).reshape(len(z), -1).sum(axis=1)
    log_w = asnumpy(log_ratio).astype("float64") - neg_log_p(model, x, z)
    return log_w.reshape(N, samples)
