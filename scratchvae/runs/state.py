"""What a trainer writes down when it stops, and how another one takes it up."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

import numpy as np

from ..backend import asnumpy, is_gpu_array, to_device
from ..models import Model
from ..ops import Losses
from ..optim import Optimizer
from ..train import CPUStepper, GPUStepper
from .checkpoint import Arrays, below, generator, need
from .config import Config


class Resumable:
    """The part of a `Trainer` that can be left and gone on with; trainer.py says what is what."""

    config: Config
    model: Model
    optimizer: Optimizer
    train_images: np.ndarray
    held_out: str
    epoch: int
    batch: int
    history: list[dict[str, float]]
    best_epoch: int
    best_score: float
    _rngs: dict[str, np.random.Generator]
    _next_rngs: dict[str, np.random.Generator] | None
    _stepper: CPUStepper | GPUStepper

    @property
    def step(self) -> int:
        """Steps done so far, over all epochs."""
        return self.optimizer.steps

    @property
    def steps_per_epoch(self) -> int:
        """The last one on fewer images, if they do not divide."""
        return -(-len(self.train_images) // self._batch_size)

    @property
    def _batch_size(self) -> int:
        assert self.config.batch_size is not None  # Config filled it in
        return self.config.batch_size

    def _columns(self) -> list[str]:
        """Of the history."""
        losses = [f"{part}_{name}" for part in ("train", self.held_out) for name in Losses._fields]
        return [*losses, "lr"] + (["kl_weight"] if hasattr(self.model, "kl_weight") else [])

    def state(self) -> tuple[Arrays, dict[str, Any]]:
        """Tensors, and facts for JSON: all that the next step depends on.

        Raises
        ------
        FloatingPointError
            If a weight or a running average is not finite: nobody should go on from there.
        """
        sums = self._stepper.sums  # first: what it raises says more than what comes below
        arrays = self._arrays()
        facts = {
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "sums": sums,
            "random": {name: rng.bit_generator.state for name, rng in self._rngs.items()},
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self.best_score if self.best_epoch else None,
        }
        return arrays, deepcopy(facts)

    def _arrays(self) -> Arrays:
        """Copies of all tensors; FloatingPointError if one is not finite."""
        arrays = {f"model.{name}": a for name, a in self.model.state_dict().items()}
        arrays |= {f"optimizer.{name}": asnumpy(a).copy() for name, a in self._averages().items()}
        for name, a in arrays.items():
            if not np.isfinite(a).all():
                raise FloatingPointError(
                    f"after step {self.step} {name} is not finite: a smaller lr or clipping may "
                    "help"
                )
        return arrays

    def restore(self, arrays: Arrays, facts: dict[str, Any]) -> None:
        """Go on from a `state`.

        Raises
        ------
        ValueError
            If it belongs to another config, or makes no sense; then nothing is changed.
        """
        epoch = need(facts, "epoch", _count)
        batch = need(facts, "batch", lambda n: _count(n) and n <= self.steps_per_epoch)
        step = need(facts, "step", lambda n: n == epoch * self.steps_per_epoch + batch)
        history = need(facts, "history", lambda lines: self._is_history(lines, epoch))
        seen = min(batch * self._batch_size, len(self.train_images))
        sums = need(facts, "sums", lambda s: _numbers(s) and len(s) == 4 and s[3] == seen)
        best_epoch = need(facts, "best_epoch", lambda n: _count(n) and n <= epoch)
        best_score = need(facts, "best_score", lambda x: _numbers([x]) or not best_epoch)
        states = need(facts, "random", lambda s: isinstance(s, dict) and s.keys() == {*self._rngs})
        rngs = {name: generator(state) for name, state in states.items()}
        averages, found = self._averages(), below("optimizer.", arrays)
        if {n: (a.shape, a.dtype) for n, a in found.items()} != {
            n: (a.shape, a.dtype) for n, a in averages.items()
        }:
            raise ValueError("the checkpoint's optimizer is not that of this run")
        self.model.load_state_dict(below("model.", arrays))  # checks all before it copies any
        for name, a in found.items():
            averages[name][...] = to_device(a, self.model.device)
        self.optimizer.steps, self.epoch, self.batch = int(step), epoch, batch
        self._rngs, self._next_rngs = rngs, None
        self._stepper.sums = [float(total) for total in sums]
        self.history, self.best_epoch = deepcopy(history), best_epoch
        self.best_score = best_score if best_epoch else math.inf

    def _averages(self) -> dict[str, Any]:
        """The optimizer's arrays, by name."""
        settings = vars(self.optimizer).items()
        return {n: a for n, a in settings if isinstance(a, np.ndarray) or is_gpu_array(a)}

    def _is_history(self, lines: Any, epochs: int) -> bool:
        return (
            isinstance(lines, list)
            and len(lines) == epochs
            and all(isinstance(line, dict) and [*line] == self._columns() for line in lines)
            and all(_numbers([*line.values()]) for line in lines)
        )


def _count(n: Any) -> bool:
    return type(n) is int and n >= 0


def _numbers(found: Any) -> bool:
    return isinstance(found, list) and all(
        type(number) in (int, float) and math.isfinite(number) for number in found
    )
