"""The jobs that both sides measure, and the data that both use."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

WARM_UP = 3  # steps of each side before any measurement: the first ones compile and allocate

MODELS = ("mlp", "conv", "tiny", "celeba", "skip", "ae")
BATCH = {"skip": 32}  # otherwise 128
# The learning rate does not affect the time; celeba's own, 5e-3, may overflow on random images.
OPTIMIZER: dict[str, tuple[str, dict[str, float]]] = {
    "skip": ("AdamW", {"lr": 1e-3, "weight_decay": 1e-4})
}  # otherwise Adam, 1e-3


class Job(NamedTuple):
    """One row of a table: training steps."""

    model: str
    batch_size: int
    image_size: int | None = None  # None: the model's default
    gpu: bool = False
    tf32: bool = False

    @property
    def optimizer(self) -> tuple[str, dict[str, float]]:
        return OPTIMIZER.get(self.model, ("Adam", {"lr": 1e-3}))


class Subject(NamedTuple):
    """The data that both sides use, and scratchvae's first results with it."""

    weights: dict[str, np.ndarray]
    x: np.ndarray  # images
    eps: np.ndarray  # noise
    losses: np.ndarray
    gradient: dict[str, np.ndarray]  # of the parameters
    flop: float = 0  # per step
    moved: float = 0  # bytes that a step must move


def difference(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest number; infinite if the shapes differ."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))


def channels_last(a: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) in the memory order of a convolution's result; arrays with another number
    of axes are returned."""
    if a.ndim != 4:
        return a
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
