"""A case or two for every op: shapes, options, and what is known about it.

The sizes differ from each other, so that swapped axes show; the numbers keep away from kinks.
"""

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
    """Numbers that differ by 0.01 or more from each other and from 0, in random order: no ties for
    max pooling, no kinks within a step."""
    count = int(np.prod(shape))
    return 0.01 * (rng.permutation(count).reshape(shape) - count // 2 + 0.5)


def away_from_zero(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of either sign, at least 0.1 from the kink of a ReLU."""
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(0.1, 3.0, shape)


def far_and_near(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Columns in turn of numbers 1 to 2 away from zero, of either sign, and within 0.2 of it: as
    mu and logvar they cost 0.68 nats or more, or 0.04 or less, well away from free bits between."""
    far = np.arange(shape[-1]) % 2 == 0
    return rng.choice([-1.0, 1.0], shape) * rng.uniform(far, 0.2 + 1.8 * far, shape)


@dataclass(frozen=True)
class Case:
    """Arguments of an op. Arrays are standard normal if `draw` does not say otherwise."""

    shapes: dict[str, tuple[int, ...]]
    options: dict[str, Any] = field(default_factory=dict)
    linear: tuple[str, ...] = ()  # the arrays in which the op is linear
    constants: tuple[str, ...] = ()  # the arrays that get no gradient
    draw: dict[str, Draw] = field(default_factory=dict)
    variant: str = ""
    mixes: bool = False  # images depend on each other, by design

    def arrays(self, seed: int) -> dict[str, np.ndarray]:
        """The arrays of this case, float64."""
        rng = np.random.default_rng(seed)
        return {n: self.draw.get(n, normal)(rng, shape) for n, shape in self.shapes.items()}


IMAGE: dict[str, tuple[int, ...]] = {"x": (2, 3, 6, 5)}
NORM: dict[str, tuple[int, ...]] = {
    "x": (4, 3, 2, 3),
    "running_mean": (3,),
    "running_var": (3,),
    "w": (3,),
    "b": (3,),
}
RUNNING = ("running_mean", "running_var")

CASES: dict[str, list[Case]] = {
    "conv2d": [
        Case(
            {**IMAGE, "w": (4, 3, 3, 2), "b": (4,)},
            {"stride": (2, 1), "padding": (1, 2)},
            linear=("x", "w", "b"),
        ),
        Case({**IMAGE, "w": (4, 3, 2, 2)}, linear=("x", "w"), variant="no bias"),
    ],
    "conv_transpose2d": [
        Case(
            {"x": (2, 3, 3, 4), "w": (3, 4, 3, 2), "b": (4,)},
            {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1)},
            linear=("x", "w", "b"),
        ),
        Case({"x": (2, 3, 3, 4), "w": (3, 4, 2, 2)}, linear=("x", "w"), variant="no bias"),
    ],
    "linear": [
        Case({"x": (3, 4), "w": (5, 4), "b": (5,)}, linear=("x", "w", "b")),
        Case({"x": (3, 4), "w": (5, 4)}, linear=("x", "w"), variant="no bias"),
    ],
    "conv2d_leaky_relu": [
        Case(
            {**IMAGE, "w": (4, 3, 3, 2), "b": (4,)},
            {"stride": (2, 1), "padding": (1, 2), "negative_slope": 0.2},
        ),
        Case({**IMAGE, "w": (4, 3, 2, 2)}, {"negative_slope": 0.0}, variant="ReLU, no bias"),
    ],
    "conv_transpose2d_leaky_relu": [
        Case(
            {"x": (2, 3, 3, 4), "w": (3, 4, 3, 2), "b": (4,)},
            {
                "stride": (3, 2),
                "padding": (1, 0),
                "output_padding": (2, 1),
                "negative_slope": 0.2,
            },
        ),
        Case(
            {"x": (2, 3, 3, 4), "w": (3, 4, 2, 2)},
            {"negative_slope": 0.0},
            variant="ReLU, no bias",
        ),
    ],
    "linear_leaky_relu": [
        Case({"x": (3, 4), "w": (5, 4), "b": (5,)}, {"negative_slope": 0.2}),
        Case({"x": (3, 4), "w": (5, 4)}, {"negative_slope": 0.0}, variant="ReLU, no bias"),
    ],
    "batch_norm_leaky_relu": [
        Case(
            NORM,
            {"training": True, "negative_slope": 0.2},
            constants=RUNNING,
            draw={"running_var": positive},
            variant="training",
            mixes=True,
        ),
    ],
    "batch_norm": [
        Case(
            NORM,
            {"training": True},
            linear=("w", "b"),
            constants=RUNNING,
            draw={"running_var": positive},
            variant="training",
            mixes=True,
        ),
        Case(
            NORM,
            {"training": False},
            linear=("x", "w", "b"),
            constants=RUNNING,
            draw={"running_var": positive},
            variant="evaluation",
        ),
    ],
    "max_pool2d": [
        Case(IMAGE, {"kernel_size": 3, "stride": 2, "padding": 1}, draw={"x": distinct})
    ],
    "avg_pool2d": [
        Case(IMAGE, {"kernel_size": (3, 2), "stride": 2, "padding": 1}, linear=("x",))
    ],
    "adaptive_avg_pool2d": [Case(IMAGE, {"output_size": (4, 3)}, linear=("x",))],
    "upsample_nearest": [Case(IMAGE, {"scale_factor": (2, 3)}, linear=("x",))],
    "relu": [Case({"x": (3, 4)}, draw={"x": away_from_zero})],
    "leaky_relu": [Case({"x": (3, 4)}, {"negative_slope": 0.2}, draw={"x": away_from_zero})],
    "sigmoid": [Case({"x": (3, 4)})],
    "tanh": [Case({"x": (3, 4)})],
    "mean_logvar": [Case({"x": (3, 2, 4)}, mixes=True)],  # y has its images along another axis
    "reparameterize": [
        Case(
            {"mu": (3, 4), "logvar": (3, 4), "eps": (3, 4)}, linear=("mu",), constants=("eps",)
        )
    ],
    "bce": [
        Case(
            {"logits": (3, 2, 4), "target": (3, 2, 4)},
            constants=("target",),
            draw={"target": probabilities},
        )
    ],
    "mse": [
        Case(
            {"prediction": (3, 2, 4), "target": (3, 2, 4)},
            {"reduction": reduction},
            constants=("target",),
            variant=reduction,
        )
        for reduction in ("mean", "sum")
    ],
    "kl": [Case({"mu": (3, 4), "logvar": (3, 4)})],
    "kl_free_bits": [
        Case(
            {"mu": (3, 4), "logvar": (3, 4)},
            {"free_bits": 0.3},
            draw={"mu": far_and_near, "logvar": far_and_near},
            mixes=True,
        )
    ],
    "elbo": [
        Case(
            {"reconstruction": (5,), "kl": (5,)},
            {"beta": 2.0},
            linear=("reconstruction", "kl"),
            mixes=True,
        )
    ],
}  # fmt: skip
