"""What ours.py and theirs.py are asked to prepare, and what they get to work on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

WARM_UP = 3  # steps of each, before anything is measured: the first ones compile and allocate
LAYERS = "conv2d+relu"  # a job's model: no VAE, but one layer and its activation
MAP = 14  # the height and width of its images

MODELS = ("mlp", "conv", "tiny", "celeba", "skip", "ae")
BATCH = {"skip": 32, LAYERS: 32}  # otherwise 128
IMAGES = {"celeba": 2_000, "skip": 2_000}  # in one evaluation; otherwise 10,000
# The rate changes no time; with celeba's own, 5e-3, a batch of noise may end in overflow.
OPTIMIZER: dict[str, tuple[str, dict[str, float]]] = {
    "skip": ("AdamW", {"lr": 1e-3, "weight_decay": 1e-4})
}  # otherwise Adam, 1e-3


class Job(NamedTuple):
    """One row of a table."""

    model: str
    batch_size: int
    what: str = "train"  # or forward, sample, encode, evaluate
    image_size: int | None = None  # None: as the model is by default
    channels: int | None = None  # of LAYERS

    @property
    def images(self) -> int:
        """How many images a step works on."""
        return IMAGES.get(self.model, 10_000) if self.what == "evaluate" else self.batch_size

    @property
    def optimizer(self) -> tuple[str, dict[str, float]]:
        return OPTIMIZER.get(self.model, ("Adam", {"lr": 1e-3}))


class Subject(NamedTuple):
    """What both sides work on, and what ours made of it first."""

    weights: dict[str, np.ndarray]
    data_range: tuple[float, float]
    x: np.ndarray  # images; evaluate: of uint8
    eps: np.ndarray  # noise, codes to decode, or dy for LAYERS
    result: np.ndarray  # train, forward, evaluate: the losses; sample: images; encode: codes
    flop: float


class FirstGradient(NamedTuple):
    """What ours makes of a Subject's losses: of all parameters in this order, in one row."""

    order: list[str]
    row: np.ndarray


def difference(a: Any, b: Any) -> float:
    """The largest difference, relative to the largest number; infinite for other shapes."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-30))
