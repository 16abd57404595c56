"""Training as something that can stop between any two steps, and go on elsewhere.

A `Trainer` holds all that the next step depends on, and nothing else does:

    weights, BatchNorm statistics    the model's
    running averages, step count     the optimizer's
    random states                    of shuffling, of black and white, of the noise
    epoch, batch                     where in the data
    sums of the losses, history      for the means to come out the same

`state` writes it down, `restore` takes it up, and the step after is the same to the last bit. The
order of an epoch's images is drawn at its start, from a copy of the generator, which moves on when
the epoch is done: so a position in the epoch needs no more than the number of batches.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from copy import deepcopy
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from .. import optim
from ..backend import asnumpy, to_device
from ..data import Dataset, batches, binarize
from ..feed import to_gpu
from ..models import Model, build
from ..ops import Losses
from ..room import in_memory
from ..schedules import kl_factor, lr_factor
from ..steps import Steps
from ..train import LOOK_EVERY, evaluate_sampled, random_streams, train_step
from .config import Config
from .snapshot import Arrays, generator, need

OPTIMIZERS = {"adam": optim.Adam, "adamw": optim.AdamW, "sgd": optim.SGD}


class Trainer:
    """A model in training: its data, its optimizer, and how far it has come.

    Parameters
    ----------
    config : Config
        With its image_shape.
    data : Dataset

    Raises
    ------
    ValueError
        If the model does not fit the data, or the validation share leaves nothing.
    """

    def __init__(self, config: Config, data: Dataset) -> None:
        self.config = config
        self.model = build(config.model, **config.model_options())
        if config.engine == "cuda":
            self.model.to("cuda")
        self.optimizer = _optimizer(config, self.model)
        self._full_kl_weight = getattr(self.model, "kl_weight", 0.0)
        self.train_images, validation = split(data.train_images, config.validation)
        shuffle, noise, self.picture_rng, self._test_rng, black_white = random_streams(
            config.seed, 5
        )
        self._rngs = {"shuffle": shuffle, "binarize": black_white, "noise": noise}
        self.held_out = "validation" if len(validation) else "test"
        self.held_out_images = validation if len(validation) else data.test_images
        self.test_images = data.test_images
        if config.binarize:  # drawn once: what is compared from epoch to epoch stays the same
            fixed = random_streams(config.seed, 6)[5]
            self.test_images = binarize(data.test_images, fixed)
            self.held_out_images = (
                binarize(validation, fixed) if len(validation) else self.test_images
            )
        self.epoch = self.batch = 0  # epochs done, and batches of the one after
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_score = 0, math.inf
        self._sums, self._images = [0.0, 0.0, 0.0], 0
        self._noise_seed = 0  # of this epoch, on the GPU
        self._waiting = 0  # images whose losses are still on the GPU

    # ------------------------------------------------------------------ training

    @property
    def step(self) -> int:
        """Steps done so far, over all epochs."""
        return self.optimizer.steps

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.train_images) // self._batch_size)

    @property
    def done(self) -> bool:
        """Whether all epochs are, or patience has come to its end."""
        patience = self.config.patience
        waited = patience is not None and self.epoch - self.best_epoch >= patience > 0
        assert self.config.epochs is not None
        return self.epoch >= self.config.epochs or (waited and self.epoch > 0)

    @property
    def is_best(self) -> bool:
        """Whether no epoch before the last one had a better loss on what is held out."""
        return self.best_epoch == self.epoch > 0

    def steps(self) -> Iterator[None]:
        """The rest of this epoch: a step each time the iterator moves.

        Raises
        ------
        FloatingPointError
            If a loss is not finite; names the step and the first tensor that went bad.
        """
        if self.batch == 0 and self.model.device == "cuda":
            self._noise_seed = int(self._rngs["noise"].integers(2**63))
        shuffle, images = deepcopy(self._rngs["shuffle"]), self.train_images
        black_white = deepcopy(self._rngs["binarize"])
        if self.config.binarize:
            images = binarize(images, black_white)
        self._after_epoch = {"shuffle": shuffle, "binarize": black_white}
        model = self.model
        all_batches = batches(images, self._batch_size, shuffle, model.data_range, model.dtype)
        rest = islice(all_batches, self.batch, None)
        for x in self._fed(rest):
            self._set_rates()
            self._step(x)
            self.batch += 1
            yield

    def end_epoch(self) -> dict[str, float]:
        """After the last step: evaluate, and note how it went. Returns the line of the history."""
        self.collect()
        train = Losses(*(total / self._images for total in self._sums))
        self._set_rates()
        held_out = evaluate_sampled(self.model, self.held_out_images, deepcopy(self._test_rng))
        line = {f"train_{name}": value for name, value in train._asdict().items()}
        line |= {f"{self.held_out}_{name}": v for name, v in held_out._asdict().items()}
        line |= {"lr": float(self.optimizer.lr)}
        if hasattr(self.model, "kl_weight"):
            line |= {"kl_weight": float(self.model.kl_weight)}
        if not all(math.isfinite(number) for number in line.values()):
            raise FloatingPointError(f"a loss of epoch {self.epoch + 1} is not finite: {line}")
        self.history.append(line)
        self.epoch, self.batch = self.epoch + 1, 0
        self._sums, self._images = [0.0, 0.0, 0.0], 0
        self._rngs |= self._after_epoch
        score = held_out.reconstruction + self._full_kl_weight * held_out.kl
        if score < self.best_score:
            self.best_epoch, self.best_score = self.epoch, score
        return line

    @property
    def means(self) -> Losses | None:
        """Of this epoch so far, as far as they are known on the host."""
        if not self._images:
            return None
        return Losses(*(total / self._images for total in self._sums))

    @property
    def _batch_size(self) -> int:
        assert self.config.batch_size is not None  # Config filled it in
        return self.config.batch_size

    def _set_rates(self) -> None:
        config, epochs = self.config, self.config.epochs
        assert epochs is not None and config.lr is not None
        now = self.optimizer.steps, self.steps_per_epoch, epochs
        self.optimizer.lr = config.lr * lr_factor(
            config.lr_schedule, *now, config.lr_decay, config.lr_warmup
        )
        if isinstance(getattr(self.model, "kl_weight", None), float | int):
            self.model.kl_weight = self._full_kl_weight * kl_factor(
                config.kl_schedule, *now, config.kl_warmup, config.kl_cycles
            )

    def _fed(self, all_batches: Iterable[np.ndarray]) -> Iterator[Any]:
        if self.model.device != "cuda":
            yield from all_batches
            return
        if self.optimizer.captured is None:
            self.optimizer.captured = Steps(
                self.model, self.optimizer, self._noise_seed, self.config.clip_norm
            )
        self.optimizer.captured.seed = self._noise_seed
        self.optimizer.captured.forget_losses()
        yield from to_gpu(all_batches, self.optimizer.captured.stream)

    def _step(self, x: Any) -> None:
        if self.model.device == "cuda":
            in_memory(partial(self.optimizer.captured, x), "training", self.model, len(x))
            self._waiting += len(x)
            if self.optimizer.steps % LOOK_EVERY == 0:
                self.collect()
            return
        eps = self.model.noise(len(x), self._rngs["noise"])
        losses = train_step(self.model, self.optimizer, x, eps, self.config.clip_norm)
        self._add(losses, len(x))

    def collect(self) -> None:
        """Fetch the losses that are still on the GPU."""
        if self._waiting:
            self._add(self.optimizer.captured.losses(), self._waiting)
            self._waiting = 0

    def _add(self, losses: Losses, n: int) -> None:
        self._sums = [a + float(b) * n for a, b in zip(self._sums, losses, strict=True)]
        self._images += n

    # ------------------------------------------------------------------ stopping and going on

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Tensors, and facts for JSON: all that the next step depends on.

        Raises
        ------
        FloatingPointError
            If a weight or a running average is not finite: nobody should go on from there.
        """
        self.collect()
        arrays = {f"model.{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": asnumpy(a) for name, a in self._averages().items()}
        for name, a in arrays.items():
            if not np.isfinite(a).all():
                raise FloatingPointError(f"after step {self.step} {name} is not finite")
        facts = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": self._sums,
            "images": self._images,
            "noise_seed": self._noise_seed,
            "random": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score if self.best_epoch else None,
        }
        return arrays, facts

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises
        ------
        ValueError
            If it belongs to another config, or makes no sense; then nothing is changed but what
            the next restore changes.
        """
        epoch = need(facts, "epoch", _count)
        batch = need(facts, "batch", lambda n: _count(n) and n <= self.steps_per_epoch)
        need(facts, "step", lambda n: n == epoch * self.steps_per_epoch + batch)
        history = need(facts, "history", lambda lines: _is_history(lines, epoch))
        sums = need(facts, "sums", lambda numbers: _numbers(numbers) and len(numbers) == 3)
        images = need(facts, "images", lambda n: _count(n) and (n > 0) == (batch > 0))
        best_epoch = need(facts, "best_epoch", lambda n: _count(n) and n <= epoch)
        best_score = need(facts, "best_score", lambda x: _numbers([x]) or not best_epoch)
        noise_seed = need(facts, "noise_seed", lambda n: _count(n) and n < 2**63)
        states = need(facts, "random", lambda s: isinstance(s, dict) and s.keys() == {*self._rngs})
        rngs = {name: generator(state) for name, state in states.items()}
        averages = self._averages()
        found = {n: a for n, a in arrays.items() if n.startswith("optimizer.")}
        if found.keys() != {f"optimizer.{name}" for name in averages} or any(
            (a.shape, a.dtype) != (averages[n.partition(".")[2]].shape, self.model.dtype)
            for n, a in found.items()
        ):
            raise ValueError("the checkpoint's optimizer is not that of this run")
        weights = {n[6:]: a for n, a in arrays.items() if n.startswith("model.")}
        self.model.load_state_dict(weights)
        for name, a in found.items():
            averages[name.partition(".")[2]][...] = to_device(a, self.model.device)
        self.optimizer.steps = facts["step"]
        self.epoch, self.batch, self._rngs = epoch, batch, rngs
        self._sums, self._images, self._noise_seed = sums, images, noise_seed
        self.history, self.best_epoch = history, best_epoch
        self.best_score = best_score if best_epoch else math.inf

    def _averages(self) -> dict[str, Any]:
        """The optimizer's arrays, by name."""
        optimizer = vars(self.optimizer)
        return {name: optimizer[name] for name in ("m", "v", "velocity") if name in optimizer}


def split(images: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Those to train on, and the last ones, kept for validation: views."""
    count = round(share * len(images))
    if share and not 0 < count < len(images):
        raise ValueError(f"validation: a share of {share} of {len(images)} images leaves nothing")
    return images[: len(images) - count], images[len(images) - count :]


def _optimizer(config: Config, model: Model) -> optim.Optimizer:
    assert config.optimizer is not None
    options: dict[str, Any] = {"lr": config.lr, "weight_decay": config.weight_decay}
    if config.optimizer == "sgd":
        options["momentum"] = config.momentum
    return OPTIMIZERS[config.optimizer](model, **options)


def _count(n: Any) -> bool:
    return type(n) is int and n >= 0


def _numbers(found: Any) -> bool:
    return isinstance(found, list) and all(
        type(number) in (int, float) and math.isfinite(number) for number in found
    )


def _is_history(lines: Any, epochs: int) -> bool:
    return (
        isinstance(lines, list)
        and len(lines) == epochs
        and all(isinstance(line, dict) and _numbers([*line.values()]) for line in lines)
    )
