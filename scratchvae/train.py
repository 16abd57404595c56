"""One training step, one evaluation, and the random numbers for both. The loop is the reader's:
see examples/mnist_vae.py."""

from __future__ import annotations

from typing import Any

import numpy as np

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
    """
    optimizer.zero_grad()
    losses = model.loss(x, eps)
    model.backward()
    optimizer.step()
    return losses


def evaluate(
    model: Model, images: np.ndarray, rng: np.random.Generator, batch_size: int = 500
) -> Losses:
    """The losses per image over a whole data set, one noise sample each, in evaluation mode.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
    rng : Generator
        Draws the noise: the same seed gives the same numbers.

    Returns
    -------
    Losses
        Floats. For a Bernoulli VAE in nats per image, and reconstruction + kl is the -ELBO.
    """
    was_training = model.training
    model.eval()
    try:
        mean = WeightedMean[Losses]()
        for x in batches(images, batch_size, data_range=model.data_range, dtype=model.dtype):
            mean.add(model.loss(asarray(x), model.noise(len(x), rng), keep=False), len(x))
        return mean.mean()
    finally:
        model.train(was_training)


def random_streams(seed: int, count: int) -> list[np.random.Generator]:
    """`count` independent generators from one seed, one per purpose.

    Shuffling, noise and evaluation each get their own: to draw more of the one changes none of the
    others.
    """
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
