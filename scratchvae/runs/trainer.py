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
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import islice
from typing import Any, cast

import numpy as np

from .. import optim
from ..backend import asnumpy, is_gpu_array, to_device
from ..data import Dataset, batches, binarize
from ..models import MODELS, Model, build
from ..models.weights import MAX_BYTES
from ..ops import Losses
from ..train import advice, check_last_batch, evaluate_sampled, stepper_for, streams
from .checkpoint import Arrays, below
from .config import Config, fits
from .data import check_shape, how_to_fit, image_shape, images_of
from .schedules import kl_factor, lr_factor

OPTIMIZERS: dict[str, Any] = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


def optimizer_for(config: Config, model: Model) -> optim.Optimizer:
    """The optimizer of a run before its first step."""
    options = {"momentum": config.momentum} if config.optimizer == "sgd" else {}
    kind = OPTIMIZERS[config.optimizer]
    return kind(model, lr=config.lr, weight_decay=config.weight_decay, **options)


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
            way = how_to_fit(shape, kind.nearest_shape(shape))
            size = " x ".join(map(str, shape))
            raise ValueError(f"{why} (images of {data.name}, {size}{way})") from None
        self.train_images, self._chosen, self.held_out_images, self.test_images, self.held_out = (
            images_of(config, data)
        )
        self.train_count = len(self._chosen)
        most = MAX_BYTES - (1 << 24)  # the rest is for names and the history
        if (size := 3 * self.model.flat_value.nbytes) > most:  # weights and two averages
            raise ValueError(
                f"the model {config.model} has {size // 3:,} bytes of weights; with the "
                f"optimizer's averages a checkpoint would exceed its limit of {most:,} bytes"
            )
        check_last_batch("batch_size", self.model, self.train_count, config.batch_size)
        if config.engine == "cuda":
            self.model.to("cuda")
        self.optimizer = optimizer_for(config, self.model)
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
            "best_score": self.best_score if math.isfinite(self.best_score) else None,
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
        best_score = need("best_score", lambda x: x is None or fits(x, float))
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
        self.best_score = math.inf if best_score is None else best_score

    def _arrays(self) -> Arrays:
        """Copies of all tensors; FloatingPointError if one is not finite."""
        arrays = {f"model.{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": asnumpy(a).copy() for name, a in self._averages().items()}
        for name, a in arrays.items():
            if not np.isfinite(a).all():
                clipped = self.config.clip_norm is not None
                raise FloatingPointError(
                    f"after step {self.step} {name} is not finite: "
                    f"{advice(self.model, self.optimizer, name, clipped=clipped)}"
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
