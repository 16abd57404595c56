"""Steps on the CPU and on the GPU, with one face for the trainer.

begin(noise)     before the steps of an epoch; returns the noise's generator for the next one
feed(batches)    the batches, where they are needed
step(x)          a training step
sums             total, reconstruction and kl, each times the images of its step; and the images
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from functools import partial
from typing import Any

import numpy as np

from ..gpu.graph import Steps
from ..gpu.memory import in_memory
from ..gpu.prefetch import to_gpu
from ..models import Model
from ..optim import Optimizer
from ..train import LOOK_EVERY, train_step


class OnCPU:
    """Every step draws its noise and moves the generator."""

    def __init__(self, model: Model, optimizer: Optimizer, max_norm: float | None) -> None:
        self._model, self._optimizer, self._max_norm = model, optimizer, max_norm
        self.sums = [0.0] * 4

    def begin(self, noise: np.random.Generator) -> np.random.Generator:
        self._noise = noise
        return noise

    def feed(self, batches: Iterable[np.ndarray]) -> Iterable[Any]:
        return batches

    def step(self, x: Any) -> None:
        eps = self._model.noise(len(x), self._noise)
        losses = train_step(self._model, self._optimizer, x, eps, self._max_norm)
        new = [*(float(loss) * len(x) for loss in losses), len(x)]
        self.sums = [a + b for a, b in zip(self.sums, new, strict=True)]


class OnGPU:
    """The generator gives each epoch a seed, the steps draw from it; the sums stay over there until
    somebody asks."""

    def __init__(self, model: Model, optimizer: Optimizer, max_norm: float | None) -> None:
        self._model, self._optimizer = model, optimizer
        self._steps = optimizer.captured = Steps(model, optimizer, 0, max_norm)

    def begin(self, noise: np.random.Generator) -> np.random.Generator:
        noise = deepcopy(noise)
        self._steps.seed = int(noise.integers(2**63))
        return noise

    def feed(self, batches: Iterable[np.ndarray]) -> Iterable[Any]:
        return to_gpu(batches, self._steps.stream)

    def step(self, x: Any) -> None:
        in_memory(partial(self._steps, x), "training", self._model, len(x))
        if self._optimizer.steps % LOOK_EVERY == 0:
            self._steps.sums()  # a run that fails should not go on to the end of the epoch

    @property
    def sums(self) -> list[float]:
        return self._steps.sums()

    @sums.setter
    def sums(self, sums: list[float]) -> None:
        self._steps.forget_losses(sums)
