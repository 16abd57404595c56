"""The numbers behind the pictures: the error against the step, and gradients of whole kernels."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .differences import EPS, along, central, complex_step, moved
from .subject import Subject

STEPS = np.logspace(0, -16, 33)


class Curve(NamedTuple):
    """The error of three numeric derivatives along one direction of one tensor, by step."""

    tensor: str
    steps: np.ndarray
    one_sided: np.ndarray  # (f(x + h) - f(x)) / h
    central: np.ndarray
    complex: np.ndarray
    rounding: np.ndarray  # what the differences' rounding may amount to


def error_curve(subject: Subject, name: str, seed: int = 0) -> Curve:
    """Numeric derivatives against backward, relative to the gradient's norm, for h from 1 down.

    Errors below the spacing of float64 numbers, 2.2e-16, are given as that: a drawing in logarithms
    has no place for zero.
    """
    rng = np.random.default_rng([seed, 4])
    v = rng.standard_normal(subject.tensors[name].shape)
    gradient = subject.gradients[name]
    truth, scale = along(gradient, v), float(np.linalg.norm(gradient)) or 1.0

    def one_sided(h: float) -> float:
        up = subject.output(name, moved(subject.tensors[name], v, h))
        return float(np.sum((up - subject.y) * subject.dy)) / h

    rows = []
    with np.errstate(all="ignore"):  # with h = 1 an exp may overflow: the picture shows a gap
        for h in map(float, STEPS):
            both_sides, rounding = central(subject, name, v, h)
            by_complex_step = complex_step(subject, name, v, h).value
            errors = [abs(n - truth) for n in (one_sided(h), both_sides, by_complex_step)]
            rows.append([*(max(error / scale, EPS) for error in errors), rounding / scale])
    return Curve(name, STEPS, *np.array(rows).T)


def elementwise(subject: Subject, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first `count` kernels (C, KH, KW) of a convolution's weight: analytic, numeric gradient,
    the latter by the complex step, an element at a time."""
    analytic = subject.gradients[name][:count]
    numeric = np.empty_like(analytic)
    for at in np.ndindex(analytic.shape):
        numeric[at] = complex_step(subject, name, at, 1e-100).value
    return analytic, numeric
