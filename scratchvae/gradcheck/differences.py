"""The numeric side: what a small step along a line does to <y, dy>.

    central        (<y(x + h v), dy> - <y(x - h v), dy>) / 2h      any function
    complex step   Im <y(x + i h v), dy> / h                       analytic functions

A line is given by an index (one element is moved) or by an array v (all are).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from .subject import Subject

EPS = float(np.finfo("float64").eps)

Line = tuple[int, ...] | np.ndarray


class Numeric(NamedTuple):
    """A numeric derivative, and what is known against it."""

    value: float
    rounding: float = 0.0  # bound on what the rounding of the outputs contributes


def tensor_error(analytic: Any, numeric: Any) -> float:
    """max|analytic - numeric| / max|analytic|; relative to the numeric side where the analytic one
    is all zero, so that a gradient of zero is wrong by 1, however small the true one is.

    Infinite where either is not finite: `<=` and `max` would pass over a NaN in silence.
    """
    worst = float(np.max(np.abs(analytic - numeric)))
    if not math.isfinite(worst):
        return math.inf
    scale = float(np.max(np.abs(analytic))) or float(np.max(np.abs(numeric)))
    return worst / scale if scale > 0 else worst


def along(gradient: np.ndarray, line: Line) -> float:
    """The derivative along the line that a gradient stands for."""
    with np.errstate(invalid="ignore"):  # a gradient may hold infinities; the verdict says so
        return float(gradient[line] if isinstance(line, tuple) else np.sum(gradient * line))


def moved(x: np.ndarray, line: Line, step: Any) -> np.ndarray:
    """x, `step` further along the line; complex if the step is."""
    x = np.array(x + 0 * step)  # also where x has no axes
    if isinstance(line, tuple):
        x[line] += step
    else:
        x += step * line
    return x


def central(subject: Subject, name: str, line: Line, h: float) -> Numeric:
    """The outputs are subtracted one by one and summed then: those that do not depend on what is
    moved leave no rounding behind."""
    x = subject.tensors[name]
    up, down = moved(x, line, h), moved(x, line, -h)
    # x + h is rounded: an element has moved by this much in truth
    step = float(up[line] - down[line]) if isinstance(line, tuple) else 2 * h
    difference = subject.output(name, up) - subject.output(name, down)
    rounding = EPS * float(np.sum(np.abs(subject.y * subject.dy))) / h
    return Numeric(float(np.sum(difference * subject.dy)) / step, rounding)


def complex_step(subject: Subject, name: str, line: Line, h: float) -> Numeric:
    """Nothing is subtracted, so nothing is lost, however small h is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            y = subject.output(name, moved(subject.tensors[name], line, 1j * h))
    except (TypeError, ComplexWarning) as problem:
        raise NotAnalytic(
            f"check: {subject.name} does not take complex numbers in {name} ({problem}); the "
            "complex step needs that, method='central' does not"
        ) from None
    return Numeric(float(np.sum(np.imag(y) * subject.dy)) / h)


class NotAnalytic(ValueError):
    """The complex step does not apply: the function has no derivative in the complex sense."""


class NotLinear(ValueError):
    """Adjointness does not apply: the function is not linear."""


def require_analytic(subject: Subject, name: str, rng: np.random.Generator) -> None:
    """The complex step and differences of real numbers must tell the same, within a percent.

    abs, var, conj, linalg.norm and all that drops an imaginary part are not analytic: under a
    complex step they give wrong numbers and no error.
    """
    v = rng.standard_normal(subject.tensors[name].shape)
    by_complex_step = complex_step(subject, name, v, 1e-100).value
    by_differences, rounding = central(subject, name, v, 1e-6)
    size = max(abs(by_complex_step), abs(by_differences))
    if not abs(by_complex_step - by_differences) <= 0.01 * size + 10 * rounding:
        raise NotAnalytic(
            f"check: {subject.name} is not analytic in {name}: along a random direction the "
            f"complex step says {by_complex_step:.4g}, differences say {by_differences:.4g}. abs, "
            "var, conj, norm and .real are not analytic (and a kink nearby looks the same); use "
            "method='central'"
        )


def adjoint(subject: Subject, name: str, line: Line, h: float = 1.0) -> Numeric:
    """<f(v) - f(0), dy>, which is <v, J^T dy> for a linear f: no step size, no truncation."""
    zero = np.zeros_like(subject.tensors[name])
    at_line, at_zero = subject.output(name, moved(zero, line, 1.0)), subject.output(name, zero)
    rounding = EPS * float(np.sum((np.abs(at_line) + np.abs(at_zero)) * np.abs(subject.dy)))
    return Numeric(float(np.sum((at_line - at_zero) * subject.dy)), rounding)


def require_linear(subject: Subject, name: str, rng: np.random.Generator) -> None:
    """f(u + 2 v) - f(0) = f(u) - f(0) + 2 (f(v) - f(0)) must hold to rounding."""
    u, v = rng.standard_normal((2, *subject.tensors[name].shape))
    at_zero = subject.output(name, 0 * u)
    left, fu, fv = (subject.output(name, w) - at_zero for w in (u + 2 * v, u, v))
    size = float(np.max(np.abs(fu) + 2 * np.abs(fv) + np.abs(at_zero)))
    off = float(np.max(np.abs(left - fu - 2 * fv)))
    if not off <= 1e-12 * size:
        raise NotLinear(
            f"check: {subject.name} is not linear in {name}: f(u + 2v) and f(u) + 2 f(v) differ by "
            f"{off / size:.2g} of their size; adjointness needs a linear function, use "
            "method='central', or name the linear ones with only=[...]"
        )
