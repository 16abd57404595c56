"""Training that can stop between any two steps and continue in another process.

A `Trainer` holds everything that the next step depends on:

    weights, BatchNorm statistics    the model's
    running averages, step count     the optimizer's
    random states                    for shuffling, binarizing and the noise
    epoch, batch                     the position in the data
    sums of the losses, history      for identical means

`checkpoint` returns these and `restore` loads them; the next step is bit-identical. Draws made once
an epoch (the order, black and white, on the GPU the noise seed) come from copies of the generators,
which replace the originals after the epoch; so `batch` alone is the position in an epoch.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from .. import optim
from ..backend import asnumpy, current_engine, is_gpu_array, to_device
from ..data import Dataset, batches, binarize, load, spread
from ..data.batches import check_images
from ..models import MODELS, build
from ..models.weights import MAX_BYTES
from ..ops import Losses
from ..output import note
from ..train import check_last_batch, evaluate_sampled, stepper_for, streams
from .checkpoint import Arrays, below
from .config import Config, fits
from .environment import about_data, environment
from .schedules import kl_factor, lr_factor

PATHS = ("images:", "arrays:")  # before the folder or file of a data set that is one
PYTHON = "python:"  # before the name of a data set of the user's, which only Python can pass
OPTIMIZERS: dict[str, Any] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


def load_data(config: Config, say: Callable[[str], None] = note) -> Dataset:
    """Load the data set of a run; `say` receives what was found. Raises as `load`; ValueError also
    for data that came from Python."""
    if config.data.startswith(PYTHON):
        raise ValueError(
            f"the images of this run ({config.data}) came from Python: pass them again as data=, "
            "to sv.runs.train or sv.runs.resume, or select a data set with --data NAME"
        )
    options = config.image_options() | {"split": config.split, "say": say}
    return load(config.data, config.data_dir, **options)


def check_data(name: str, data: Any) -> None:
    """Check a data set of the user's; TypeError or ValueError, which begins with `name`."""
    if isinstance(data, str | os.PathLike):
        raise TypeError(f"{name}: data must be a Dataset, got {data!r}; for a folder use folder=")
    if not isinstance(data, Dataset):
        raise TypeError(f"{name}: data must be a Dataset, got {type(data).__name__}")
    parts = {"train": data.train_images, "test": data.test_images}
    if data.validation_images is not None:
        parts["validation"] = data.validation_images
    for part, images in parts.items():
        check_images(f"{name}: data.{part}_images", images)
        if images.ndim != 3 and (images.ndim != 4 or images.shape[1] not in (1, 3)):
            raise ValueError(
                f"{name}: data.{part}_images must have shape (N, H, W) or (N, C, H, W) with 1 or 3 "
                f"channels, got {images.shape}"
            )
        if images.shape[1:] != data.train_images.shape[1:]:
            raise ValueError(
                f"{name}: data.{part}_images must have the shape of train_images, "
                f"(N, {', '.join(map(str, data.train_images.shape[1:]))}), got {images.shape}"
            )
        for what in ("labels", "names"):
            found = getattr(data, f"{part}_{what}", None)
            if found is not None and len(found) != len(images):
                raise ValueError(
                    f"{name}: data.{part}_{what} must have a value for each of {len(images):,} "
                    f"images, got {len(found):,}"
                )


class Images(NamedTuple):
    """uint8 (N, H, W) or (N, C, H, W); `held_out` is evaluated each epoch, `which` is its name."""

    train: np.ndarray
    chosen: np.ndarray  # indices of the images in `train` to train on
    held_out: np.ndarray
    test: np.ndarray
    which: str


def images_of(config: Config, data: Dataset) -> Images:
    """Split a data set: the user's validation images, or some of the training images, drawn across
    the list (split "tail": the last ones). ValueError for an empty part.

    With `binarize`, held-out images are drawn once, so that epochs and runs of one seed compare.
    """
    train, test, which = data.train_images, data.test_images, "test"
    chosen, held_out = np.arange(len(train)), test
    count = round(config.validation * len(train))
    if data.validation_images is not None:
        if config.validation:
            raise ValueError(
                f"validation: {data.name} has {len(data.validation_images):,} validation images of "
                "its own: leave validation out"
            )
        held_out, which = data.validation_images, "validation"
    elif config.validation:
        if not 0 < count < len(train):
            raise ValueError(
                f"validation: {config.validation:g} of {len(train)} training images is {count}, "
                "which leaves none for training or none for validation"
            )
        which = "validation"
        if config.split == "tail":
            train, held_out = train[:-count], train[-count:]
            chosen = chosen[:-count]
        else:
            held = spread(count, len(train))
            chosen, held_out = np.delete(chosen, held), train[held]
    if config.patience is not None and which == "test":
        raise ValueError("patience needs validation images: set validation, for example to 0.1")
    if config.binarize:
        rng = streams(config.seed).binarize_held_out
        test = binarize(test, rng)
        held_out = test if which == "test" else binarize(held_out, rng)
    return Images(train, chosen, held_out, test, which)


def test_images(config: Config, data: Dataset) -> np.ndarray:
    """As in `images_of`."""
    test = data.test_images
    return binarize(test, streams(config.seed).binarize_held_out) if config.binarize else test


def image_shape(data: Dataset) -> tuple[int, ...]:
    """Channels, height and width of its images."""
    return (1, *data.train_images.shape[1:])[-3:]


def check_shape(config: Config, data: Dataset) -> None:
    """ValueError if the images do not have the shape that the model was made for."""
    if (shape := image_shape(data)) != config.image_shape:
        raise ValueError(
            f"the model {config.model} takes images of shape {config.image_shape}, but those of "
            f"{data.name} have shape {shape}{_how_to_fit(shape, config.image_shape)}"
        )


def _how_to_fit(shape: Any, wanted: Any) -> str:
    """The options that give images of `shape` the shape `wanted`, as the end of a message."""
    options = []
    if shape[1:] != wanted[1:]:
        _, H, W = wanted
        options.append(f"--image-size {W if H == W else f'{W}x{H}'}")
    if shape[0] != 1 == wanted[0]:
        options.append("--grey")
    return f"; {' '.join(options)} {'fit' if len(options) > 1 else 'fits'}" if options else ""


def filled_in(config: Config, data: Dataset) -> tuple[Config, dict[str, Any]]:
    """The content of config.json: the options with the engine in use, absolute paths and the image
    shape (by default that of the data); then the environment and the data."""
    name, data_dir = config.data, config.data_dir and absolute(config.data_dir)
    for prefix in PATHS:
        if name.startswith(prefix):
            name = prefix + absolute(name.removeprefix(prefix))
    shape = config.image_shape or image_shape(data)  # the trainer refuses what does not fit
    engine = current_engine()
    config = replace(config, engine=engine, image_shape=shape, data=name, data_dir=data_dir)
    return config, {"environment": environment(engine), "data": about_data(data)}


def absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())


class Trainer:
    """A model in training: its data, optimizer and progress.

        for _ in trainer.steps(): ...       to the end of the epoch; break to save a checkpoint
        trainer.end_epoch()

    `config` names the engine in use. ValueError if the model does not fit the data.
    """

    def __init__(self, config: Config, data: Dataset) -> None:
        self.config = config
        check_shape(config, data)
        try:
            self.model = build(config.model, **config.model_options())
        except ValueError as why:
            shape, kind = image_shape(data), cast(Any, MODELS[config.model])
            way = _how_to_fit(shape, kind.nearest_shape(shape))
            size = " x ".join(map(str, shape))
            raise ValueError(f"{why} (images of {data.name}, {size}{way})") from None
        images = images_of(config, data)
        self.train_images, self._chosen, self.held_out_images, self.test_images, _ = images
        self.held_out, self.train_count = images.which, len(images.chosen)
        most = MAX_BYTES - (1 << 24)  # the rest is for names and the history
        if (size := 3 * self.model.flat_value.nbytes) > most:  # weights and two averages
            raise ValueError(
                f"the model {config.model} has {size // 3:,} bytes of weights; with the "
                f"optimizer's averages a checkpoint would exceed its limit of {most:,} bytes"
            )
        check_last_batch("batch_size", self.model, self.train_count, config.batch_size)
        if config.engine == "cuda":
            self.model.to("cuda")
        options = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
        self.optimizer: optim.Optimizer = OPTIMIZERS[config.optimizer](
            self.model, lr=config.lr, weight_decay=config.weight_decay, **options
        )
        self._stepper = stepper_for(self.model, self.optimizer, config.clip_norm)
        self.full_kl_weight = getattr(self.model, "kl_weight", 0.0)
        rngs = streams(config.seed)
        self.picture_rng, self._test_rng = rngs.pictures, rngs.test
        self._rngs = {"shuffle": rngs.shuffle, "binarize": rngs.binarize, "noise": rngs.noise}
        self._next_rngs: Any = None  # once an epoch has begun: a copy of _rngs
        self.steps_per_epoch = -(-self.train_count // config.batch_size)
        self.epoch = self.batch = 0  # epochs done, and batches done in the next one
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_score = 0, math.inf

    @property
    def step(self) -> int:
        """Steps done so far, over all epochs."""
        return self.optimizer.steps

    @property
    def done(self) -> bool:
        """Whether all epochs are done or patience has run out; a begun epoch is finished first."""
        return self.batch == 0 and (self.epoch >= self.config.epochs or self.out_of_patience)

    @property
    def out_of_patience(self) -> bool:
        """Whether patience ends the training before all epochs are done."""
        patience, left = self.config.patience, self.epoch < self.config.epochs
        return left and patience is not None and self.epoch - self.best_epoch >= patience

    def steps(self) -> Iterator[None]:
        """The rest of this epoch, one step per iteration.

        FloatingPointError if a loss is not finite; names the step and, on the CPU, the bad tensor.
        """
        for x in self._stepper.prefetch(islice(self._begin(), self.batch, None)):
            self._set_rates(self.step)
            self._stepper.step(x)
            self.batch += 1
            yield

    def end_epoch(self) -> dict[str, float]:
        """Evaluate after the last step; add a line to the history and return it.

        FloatingPointError if a loss is not finite; RuntimeError if steps are left.
        """
        if self.batch != self.steps_per_epoch:
            raise RuntimeError(
                f"end_epoch: after {self.batch} of {self.steps_per_epoch} steps; run steps() first"
            )
        if self._next_rngs is None:  # restored after the last step
            self._begin()
        self._set_rates(self.step - 1)  # of the last step: a restored model has others
        self._arrays()  # this error names a tensor, that of the losses does not
        *sums, images = self._stepper.sums
        train = [total / images for total in sums]
        held_out = evaluate_sampled(self.model, self.held_out_images, deepcopy(self._test_rng))
        rates = [self.optimizer.lr, getattr(self.model, "kl_weight", 0.0)]
        line = dict(zip(self._columns(), [*train, *held_out, *map(float, rates)], strict=False))
        for name, number in line.items():
            if not math.isfinite(number):
                raise FloatingPointError(f"{name} of epoch {self.epoch + 1} is {number}")
        self.history.append(line)
        self.epoch, self.batch = self.epoch + 1, 0
        self._rngs, self._next_rngs = self._next_rngs, None
        self._stepper.sums = [0.0] * 4
        score = held_out.reconstruction + self.full_kl_weight * held_out.kl
        if score < self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
        return line

    def _begin(self) -> Iterator[np.ndarray]:
        """All batches of this epoch; also makes the generators for the next one."""
        rngs = deepcopy(self._rngs)
        if self.model.device == "cpu":  # each step draws from it; on the GPU it only gives a seed
            rngs["noise"] = self._rngs["noise"]
        self._stepper.start_epoch(rngs["noise"])
        self._next_rngs = rngs
        images, model, config = self.train_images, self.model, self.config
        if config.binarize:
            images = binarize(images, rngs["binarize"])
        order = (config.batch_size, rngs["shuffle"], model.data_range, model.dtype, self._chosen)
        return batches(images, *order)

    def _set_rates(self, step: int) -> None:
        config, now = self.config, (step, self.steps_per_epoch, self.config.epochs)
        self.optimizer.lr = config.lr * lr_factor(
            config.lr_schedule, *now, config.lr_decay, config.lr_warmup
        )
        if hasattr(self.model, "kl_weight"):
            self.model.kl_weight = self.full_kl_weight * kl_factor(
                config.kl_schedule, *now, config.kl_warmup, config.kl_cycles
            )

    def _columns(self) -> list[str]:
        losses = [f"{part}_{name}" for part in ("train", self.held_out) for name in Losses._fields]
        return [*losses, "lr"] + (["kl_weight"] if hasattr(self.model, "kl_weight") else [])

    def checkpoint(self) -> tuple[Arrays, dict[str, Any]]:
        """Copies of the tensors and of the progress; FloatingPointError: a tensor is not finite."""
        sums = self._stepper.sums  # first: its error is more specific than that of _arrays
        arrays = self._arrays()
        progress = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": sums,
            "random": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score if self.best_epoch else None,
        }
        return arrays, deepcopy(progress)

    def restore(self, arrays: Arrays, progress: dict[str, Any]) -> None:
        """Load a checkpoint; if it does not fit, ValueError and no change."""

        def need(name: str, right: Callable[[Any], bool]) -> Any:
            if name not in progress or not right(progress[name]):
                raise ValueError(f"the checkpoint's {name} is missing or invalid")
            return progress[name]

        def count(most: float) -> Callable[[Any], bool]:
            return lambda n: fits(n, int, at_least=0, at_most=most)

        epoch = need("epoch", count(math.inf))
        batch = need("batch", count(self.steps_per_epoch))
        step = need("step", lambda n: n == epoch * self.steps_per_epoch + batch)
        columns = self._columns()
        history = need("history", lambda h: isinstance(h, list) and len(h) == epoch)
        need("history", lambda h: all(isinstance(x, dict) and [*x] == columns for x in h))
        need("history", lambda h: all(_are_numbers([*line.values()]) for line in h))
        seen = min(batch * self.config.batch_size, self.train_count)
        sums = need("sums", lambda s: _are_numbers(s) and len(s) == 4 and s[3] == seen)
        best_epoch = need("best_epoch", count(epoch))
        best_score = need("best_score", lambda x: not best_epoch or fits(x, float))
        states = need("random", lambda s: isinstance(s, dict) and s.keys() == {*self._rngs})
        rngs = {name: _generator(state) for name, state in states.items()}
        averages, found = self._averages(), below("optimizer.", arrays)
        if _layout(found) != _layout(averages):
            raise ValueError("the checkpoint is from a run with another optimizer or model")
        self.model.load_state_dict(below("model.", arrays))  # checks all before it copies any
        for name, a in found.items():
            averages[name][...] = to_device(a, self.model.device)
        self.optimizer.steps, self.epoch, self.batch = int(step), epoch, batch
        self._rngs, self._next_rngs = rngs, None
        self._stepper.sums = [float(total) for total in sums]
        self.history, self.best_epoch = deepcopy(history), best_epoch
        self.best_score = best_score if best_epoch else math.inf

    def _arrays(self) -> Arrays:
        """Copies of all tensors; FloatingPointError if one is not finite."""
        arrays = {f"model.{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": asnumpy(a).copy() for name, a in self._averages().items()}
        for name, a in arrays.items():
            if not np.isfinite(a).all():
                raise FloatingPointError(
                    f"after step {self.step} {name} is not finite: try a smaller lr or gradient "
                    "clipping"
                )
        return arrays

    def _averages(self) -> dict[str, Any]:
        """The optimizer's arrays, by name."""
        settings = vars(self.optimizer).items()
        return {n: a for n, a in settings if isinstance(a, np.ndarray) or is_gpu_array(a)}


def _generator(state: Any) -> np.random.Generator:
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"invalid state of a random generator: {error!r}") from None
    return rng


def _layout(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: (a.shape, a.dtype) for name, a in arrays.items()}


def _are_numbers(found: Any) -> bool:
    return isinstance(found, list) and all(fits(x, float) for x in found)
