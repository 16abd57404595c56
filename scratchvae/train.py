"""One training step, one epoch of them, two ways to evaluate, and the random numbers for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tqdm import tqdm

from .backend import asarray
from .data import WeightedMean, batches
from .models import Model
from .ops import Losses
from .optim import Optimizer


def train_step(model: Model, optimizer: Optimizer, x: Any, eps: Any) -> Losses:
    """One step of gradient descent on the batch x with the noise eps.

    Parameters
    ----------
    x : array (N, C, H, W)
        Images in the model's data_range and dtype.
    eps : array (N, *latent_shape)
        Standard normal noise: `model.noise(N, rng)`.

    Returns
    -------
    Losses
        Before the step: total, reconstruction, kl, means over the batch.

    Notes
    -----
    The model stays in the mode it is in; after `model.eval()` call `model.train()` first.
    """
    if optimizer.model is not model:
        raise ValueError("train_step: the optimizer was made for another model")
    optimizer.zero_grad()
    losses = model.loss(x, eps)
    model.backward()
    optimizer.step()
    return losses


def train_epoch(
    model: Model,
    optimizer: Optimizer,
    images: np.ndarray,
    batch_size: int,
    shuffle_rng: np.random.Generator,
    noise_rng: np.random.Generator,
    title: str = "epoch",
) -> Losses:
    """Train on every image once, in random order, under a progress bar called `title`.

    Returns
    -------
    Losses
        Means over the epoch, in which the weights still changed: floats.
    """
    mean = WeightedMean[Losses]()
    steps = batches(images, batch_size, shuffle_rng, model.data_range, model.dtype)
    count = -(-len(images) // batch_size)
    for x in tqdm(steps, title, total=count, leave=False, disable=None):
        eps = model.noise(len(x), noise_rng)
        mean.add(train_step(model, optimizer, asarray(x), eps), len(x))
    return mean.mean()


def evaluate_sampled(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> Losses:
    """The losses per image over a whole data set, one sample z ~ q(z|x) each, in evaluation mode.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
    rng : Generator
        Draws the noise: the same seed gives the same numbers.

    Returns
    -------
    Losses
        Floats. For a Bernoulli VAE in nats per image, and reconstruction + kl estimates the -ELBO.
    """
    return _evaluate(model, images, batch_size, lambda n: model.noise(n, rng))


def evaluate_deterministic(model: Model, images: np.ndarray, batch_size: int = 500) -> Losses:
    """As `evaluate_sampled`, but at z = mu, without noise.

    The KL term pays for a code that is known to within sigma, and here the decoder gets an exact
    one: the sum bounds no likelihood. Do not call it an ELBO, or put it beside sampled numbers; see
    docs/elbo.md.
    """

    def no_noise(n: int) -> Any:
        return asarray(np.zeros((n, *model.latent_shape), model.dtype))

    return _evaluate(model, images, batch_size, no_noise)


def _evaluate(
    model: Model, images: np.ndarray, batch_size: int, noise: Callable[[int], Any]
) -> Losses:
    mean = WeightedMean[Losses]()
    with model.evaluating():
        for x in batches(images, batch_size, data_range=model.data_range, dtype=model.dtype):
            mean.add(model.loss(asarray(x), noise(len(x)), keep=False), len(x))
    return mean.mean()


def random_streams(seed: int, count: int) -> list[np.random.Generator]:
    """`count` independent generators from one seed, one per purpose.

    Shuffling, noise and evaluation each get their own: to draw more of the one changes none of the
    others.
    """
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
