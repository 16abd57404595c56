"""One training step, one epoch of them, two ways to evaluate, and the random numbers for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from .backend import to_device
from .data import WeightedMean, batches
from .gpu.graph import Steps
from .gpu.memory import in_memory
from .gpu.prefetch import to_gpu
from .layers import BatchNorm2d
from .models import Model
from .models.inspect import first_not_finite
from .ops import Losses
from .optim import Optimizer, clip_grad_norm


def train_step(
    model: Model, optimizer: Optimizer, x: Any, eps: Any, max_norm: float | None = None
) -> Losses:
    """One step of gradient descent on the batch x with the noise eps.

    Parameters
    ----------
    x : array (N, C, H, W)
        Images in the model's data_range and dtype.
    eps : array (N, *latent_shape)
        Standard normal noise: `model.noise(N, rng)`.
    max_norm : float, optional
        Clip the gradients to this norm: see `optim.clip_grad_norm`.

    Returns
    -------
    Losses
        Before the step: total, reconstruction, kl, means over the batch.

    Raises
    ------
    FloatingPointError
        If the loss is not finite; names the first tensor that is not, and leaves the weights as
        they are. On the GPU nobody looks: that would halt it.

    Notes
    -----
    The model stays in the mode it is in; after `model.eval()` call `model.train()` first.
    """
    _check(model, optimizer, "train_step")
    optimizer.zero_grad()
    losses = model.loss(x, eps)
    if model.device == "cpu" and not np.isfinite(losses.total):
        raise FloatingPointError(
            f"the loss of step {optimizer.steps + 1} is {float(losses.total)}; the first tensor "
            f"that is not finite is {first_not_finite(model, x, eps)}: a smaller lr or clipping "
            "may help"
        )
    model.backward()
    if max_norm is not None:
        clip_grad_norm(model, max_norm)
    optimizer.step()
    return losses


def _check(model: Model, optimizer: Optimizer, name: str) -> None:
    if optimizer.model is not model:
        raise ValueError(f"{name}: the optimizer was made for another model")


def check_last_batch(name: str, model: Model, images: int, batch_size: int) -> None:
    """Refuse, before the first step, an epoch whose last step would fail.

    A batch norm over maps of 1 x 1 has one value per channel where a batch has one image, and no
    variance to train with.
    """
    if images % batch_size != 1 and batch_size != 1:
        return
    if not any(isinstance(module, BatchNorm2d) for module in model.modules()):
        return
    x = np.full((1, *model.image_shape), np.mean(model.data_range), model.dtype)
    eps = model.noise(1, np.random.default_rng(0))
    try:
        deepcopy(model).loss(to_device(x, model.device), eps, keep=False)
    except ValueError as problem:
        raise ValueError(
            f"{name}: {images:,} images in batches of {batch_size} leave a last batch of one, "
            f"which this model cannot train on ({problem}): choose another batch size"
        ) from None


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

    Raises
    ------
    ValueError
        Before the first step, if the last batch would be one image and the model has a batch norm
        that cannot train on it.

    Notes
    -----
    On the GPU steps are graphs that draw their own noise (see steps.py); noise_rng gives each epoch
    its seed.
    """
    _check(model, optimizer, "train_epoch")
    mean = WeightedMean[Losses]()
    all_batches = batches(images, batch_size, shuffle_rng, model.data_range, model.dtype)
    check_last_batch("train_epoch", model, len(images), batch_size)
    count = -(-len(images) // batch_size)

    def bar(steps: Any) -> Any:
        return tqdm(steps, title, total=count, leave=False, disable=None)

    if model.device == "cuda":
        _train_on_gpu(model, optimizer, all_batches, bar, noise_rng, mean)
    else:
        for x in bar(all_batches):
            eps = model.noise(len(x), noise_rng)
            mean.add(train_step(model, optimizer, x, eps), len(x))
    return mean.mean()


LOOK_EVERY = 100  # steps on the GPU; in between, nobody waits for it


def _train_on_gpu(
    model: Model,
    optimizer: Optimizer,
    all_batches: Iterator[np.ndarray],
    bar: Callable[[Any], Any],
    noise_rng: np.random.Generator,
    mean: WeightedMean[Losses],
) -> None:
    seed, images = int(noise_rng.integers(2**63)), 0
    if optimizer.captured is None:
        optimizer.captured = Steps(model, optimizer, seed)
    step = optimizer.captured
    step.seed = seed
    step.forget_losses()  # of an epoch that was interrupted
    for number, x in enumerate(bar(to_gpu(all_batches, step.stream)), 1):
        in_memory(partial(step, x), "train_epoch", model, len(x))
        images += len(x)
        if number % LOOK_EVERY == 0:
            mean.add(step.losses(), images)
            images = 0
    if images:
        mean.add(step.losses(), images)


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
        return to_device(np.zeros((n, *model.latent_shape), model.dtype), model.device)

    return _evaluate(model, images, batch_size, no_noise)


def _evaluate(
    model: Model, images: np.ndarray, batch_size: int, noise: Callable[[int], Any]
) -> Losses:
    mean = WeightedMean[Losses]()
    losses = []  # on the GPU: to look at each would halt it
    with model.evaluating():
        for x in batches(images, batch_size, data_range=model.data_range, dtype=model.dtype):
            x, eps = to_device(x, model.device), noise(len(x))
            work = partial(model.loss, x, eps, keep=False)
            losses.append((in_memory(work, "evaluate", model, len(x)), len(x)))
    for means, n in losses:
        mean.add(means, n)
    return mean.mean()


def in_words(losses: Losses) -> str:
    """The losses for people, in as many digits as they mean."""
    width = "7.2f" if losses.reconstruction >= 1 else "7.5f"
    recon = f"{losses.reconstruction:{width}}".strip()
    parts = f" (recon {recon}, KL {losses.kl:5.2f})" if losses.kl else ""
    return f"{losses.total:{width}}{parts}"


class Streams(NamedTuple):
    """The random numbers of a run, a generator for each purpose; see `streams`."""

    shuffle: np.random.Generator
    noise: np.random.Generator
    pictures: np.random.Generator
    test: np.random.Generator
    binarize: np.random.Generator
    binarize_held_out: np.random.Generator


def streams(seed: int) -> Streams:
    """All of them, at their beginning."""
    return Streams(*random_streams(seed, len(Streams._fields)))


def random_streams(seed: int, count: int) -> list[np.random.Generator]:
    """`count` independent generators from one seed, one per purpose.

    Shuffling, noise and evaluation each get their own: to draw more of the one changes none of the
    others.
    """
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
