"""Training: one step, one epoch, evaluation, and the random number generators of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .backend import to_device
from .data import batches
from .gpu.graph import GPUStepper, in_memory
from .layers import BatchNorm2d
from .models import Model
from .models.inspect import first_not_finite
from .ops import Losses
from .optim import Optimizer, clip_grad_norm, how_to_stop_growth
from .output import progress


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
        The losses before the step: total, reconstruction, kl, means over the batch.

    Raises
    ------
    FloatingPointError
        If the loss is not finite. The message names the first tensor that is not, and says what
        to change; the weights stay. The GPU raises no such error: reading the loss would wait
        for every kernel.

    Notes
    -----
    The model's mode is not changed: after `model.eval()`, call `model.train()` first.
    """
    if optimizer.model is not model:
        raise ValueError("train_step: the optimizer was made for another model")
    optimizer.zero_grad()
    losses = model.loss(x, eps)
    if model.device == "cpu" and not np.isfinite(losses.total):
        tensor = first_not_finite(model, x, eps)
        raise FloatingPointError(
            f"the loss of step {optimizer.steps + 1} is {float(losses.total)}; the first tensor "
            f"that is not finite is {tensor}: "
            + advice(model, optimizer, tensor, losses, eps, clipped=max_norm is not None)
        )
    model.backward()
    if max_norm is not None:
        clip_grad_norm(model, max_norm)
    optimizer.step()
    return losses


def advice(
    model: Model,
    optimizer: Optimizer,
    tensor: str,
    losses: Losses | None = None,
    eps: Any = None,
    clipped: bool = False,
) -> str:
    """What to change if a number is not finite: the end of an error message.

    Parameters
    ----------
    tensor : str
        The first tensor that is not finite: a name from `first_not_finite`, or "model.NAME" or
        "optimizer.NAME" between two steps.
    losses, eps : optional
        The losses and the noise of the step.
    clipped : bool
        Whether the gradients are clipped.
    """
    if tensor == "the batch":
        return "check the images"
    if tensor == "the noise":
        return "expected standard normal numbers, such as those of model.noise"
    settings = {
        "the KL weight": getattr(model, "kl_weight", 0.0),
        "free_bits": getattr(model, "free_bits", 0.0),
    }
    most = math.inf
    if tensor == "the loss" and losses is not None:  # both terms are finite, the total is not
        most = max(float(losses.reconstruction), float(losses.kl))
    elif optimizer.steps:
        most = float(np.finfo(model.dtype).max)
        settings |= {"lr": optimizer.lr, "weight_decay": getattr(optimizer, "weight_decay", 0.0)}
    name, value = max(settings.items(), key=lambda item: item[1])
    if value > most:
        return f"{name}, {value:g}, is too large for {model.dtype}; try a smaller one"
    if not optimizer.steps:
        return _before_the_first_update(model, tensor, eps)
    kl_weight = settings["the KL weight"]
    if kl_weight > 1000 and optimizer.lr < 1:
        return f"a KL weight of {kl_weight:g} makes the gradients very large; try a smaller one"
    return how_to_stop_growth(optimizer, clipped)


def _before_the_first_update(model: Model, tensor: str, eps: Any) -> str:
    """`advice` where neither the learning rate nor another setting of the optimizer can matter."""
    if tensor.startswith(("the weight ", "model.")):
        return "no update has been made; load or build other weights"
    sizes = {name: float(abs(p.value).max()) for name, p in model.parameters().items()}
    largest = max(sizes, key=sizes.__getitem__)
    text = f"no update has been made; check the weights (up to {sizes[largest]:g}, in {largest})"
    return text if eps is None else f"{text} and the noise (up to {float(abs(eps).max()):g})"


class CPUStepper:
    """Training steps on the CPU; `gpu.graph.GPUStepper` has the same methods. `sums`: the sums over
    all images so far of total, reconstruction and kl, and their number. You may set them."""

    def __init__(self, model: Model, optimizer: Optimizer, max_norm: float | None = None) -> None:
        self._model, self._optimizer, self._max_norm = model, optimizer, max_norm
        self.sums = [0.0] * 4

    def start_epoch(self, noise: np.random.Generator) -> None:
        """Set the generator of eps. (On the GPU it only draws a seed for the epoch.)"""
        self._noise = noise

    def prefetch(self, batches: Iterable[np.ndarray]) -> Iterable[Any]:
        """The batches, on the model's device."""
        return batches

    def step(self, x: Any) -> None:
        """A training step on the batch x; adds its losses to `sums`."""
        eps = self._model.noise(len(x), self._noise)
        losses = train_step(self._model, self._optimizer, x, eps, self._max_norm)
        new = zip(self.sums, (*losses, 1), strict=True)
        self.sums = [total + len(x) * float(mean) for total, mean in new]


def stepper_for(
    model: Model, optimizer: Optimizer, max_norm: float | None = None
) -> CPUStepper | GPUStepper:
    """The stepper of the model's device."""
    return (GPUStepper if model.device == "cuda" else CPUStepper)(model, optimizer, max_norm)


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

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
    shuffle_rng, noise_rng : Generator
        For the order of the images, and for eps (on the GPU: for the seed of eps).

    Returns
    -------
    Losses
        Floats: means over the epoch, during which the weights change.

    Raises
    ------
    ValueError
        Before the first step, if there is no image, or if the last batch would be a single image
        that a batch norm of the model cannot train on.
    """
    all_batches = batches(images, batch_size, shuffle_rng, model.data_range, model.dtype)
    check_last_batch("train_epoch", model, len(images), batch_size)
    stepper, count = stepper_for(model, optimizer), -(-len(images) // batch_size)
    stepper.start_epoch(noise_rng)
    on_device = stepper.prefetch(all_batches)
    for x in progress(on_device, title, total=count):
        stepper.step(x)
    *totals, trained = stepper.sums
    return Losses(*(total / trained for total in totals))


def check_last_batch(name: str, model: Model, images: int, batch_size: int) -> None:
    """Raise ValueError before the first step if the last batch would fail: a batch norm cannot
    train on one image if its maps are 1 x 1. Only a run of the model shows the size of the maps."""
    one_left = (images - 1) % batch_size == 0
    if not one_left or not any(isinstance(module, BatchNorm2d) for module in model.modules()):
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


def evaluate_sampled(
    model: Model, images: np.ndarray, rng: np.random.Generator | None, batch_size: int = 500
) -> Losses:
    """The losses per image over a whole data set, one sample z ~ q(z|x) each, in evaluation mode.

    Parameters
    ----------
    images : uint8 array (N, H, W) or (N, C, H, W)
    rng : Generator
        For the noise; None for `evaluate_deterministic`.

    Returns
    -------
    Losses
        Floats. For a Bernoulli VAE in nats per image; reconstruction + kl estimates the -ELBO.
    """
    losses, counts = [], []  # read at the end: on the GPU, reading a loss waits for its kernels
    with model.evaluating():
        for x in batches(images, batch_size, data_range=model.data_range, dtype=model.dtype):
            x, zeros = to_device(x, model.device), np.zeros((len(x), *model.latent_shape), x.dtype)
            eps = model.noise(len(x), rng) if rng else to_device(zeros, model.device)
            work = partial(model.loss, x, eps, keep=False)
            losses.append(in_memory(work, "evaluate", model, len(x)))
            counts.append(len(x))
    # The last batch is usually smaller and weighs less. In float32 the sum would lose digits.
    rows = [[float(loss) for loss in batch] for batch in losses]
    return Losses(*np.average(rows, axis=0, weights=counts).tolist())


def evaluate_deterministic(model: Model, images: np.ndarray, batch_size: int = 500) -> Losses:
    """As `evaluate_sampled`, but at z = mu, without noise.

    The KL term is the cost of a sample z, but the decoder gets the exact mean. So the sum is not an
    ELBO or a bound, and cannot be compared with `evaluate_sampled`; see docs/elbo.md.
    """
    return evaluate_sampled(model, images, None, batch_size)


def in_words(losses: Losses, kl: bool = True) -> str:
    """The losses as text, with as many digits as are meaningful; an autoencoder has no `kl`."""
    width = "7.2f" if losses.reconstruction >= 1 else "7.5f"
    recon = f"{losses.reconstruction:{width}}".strip()
    parts = f" (recon {recon}, KL {losses.kl:5.2f})" if kl else ""
    return f"{losses.total:{width}}{parts}"


def history_line(train: Losses, test: Losses) -> dict[str, float]:
    """An epoch in the history of a run, as `plots.loss_curves` takes it: train_total, ..., test_kl,
    floats."""
    parts = {"train": train, "test": test}.items()
    return {f"{part}_{n}": float(v) for part, losses in parts for n, v in losses._asdict().items()}


class Streams(NamedTuple):
    """The random number generators of a run, one for each purpose, independent of each other."""

    shuffle: np.random.Generator
    noise: np.random.Generator
    pictures: np.random.Generator
    test: np.random.Generator
    binarize: np.random.Generator
    binarize_held_out: np.random.Generator


def streams(seed: int) -> Streams:
    """Fresh generators for a run with this seed."""
    children = np.random.SeedSequence(seed).spawn(len(Streams._fields))
    return Streams(*(np.random.default_rng(child) for child in children))
