"""The example cases at the end of every op's file: shapes, options, properties. Tests, `scratchvae
check OP` and benchmarks use them. The sizes of a case differ, so that swapped axes are noticed; its
numbers are not close to kinks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Draw = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal."""
    return rng.standard_normal(shape)


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Between 0.5 and 2: variances."""
    return rng.uniform(0.5, 2.0, shape)


def probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Between 0 and 1."""
    return rng.random(shape)


def distinct(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers at least 0.01 apart and away from 0, in random order: no ties and no kinks."""
    count = int(np.prod(shape))
    return 0.01 * (rng.permutation(count).reshape(shape) - count // 2 + 0.5)


def away_from_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of either sign, at least 0.1 from the kink of a ReLU."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 3.0, shape)


def far_and_near(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Alternate columns 1 to 2 away from 0, and within 0.2: 0.68 nats or more, and 0.04 or less."""
    far = np.arange(shape[-1]) % 2 == 0
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(far, 0.2 + 1.8 * far, shape)


@dataclass(frozen=True)
class Case:
    """Arguments of an op. Arrays are standard normal unless `draw` has a function for them."""

    shapes: dict[str, tuple[int, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    linear: tuple[str, ...] = ()  # the arrays in which the op is linear
    constants: tuple[str, ...] = ()  # the arrays that get no gradient
    draw: dict[str, Draw] = field(default_factory=dict)
    variant: str = ""
    mixes: bool = False  # the result for one image depends on the other images, by design

    def arrays(self, seed: int) -> dict[str, np.ndarray]:
        """The arrays of this case, float64."""
        rng = np.random.default_rng(seed)
        return {n: self.draw.get(n, normal)(rng, shape) for n, shape in self.shapes.items()}
