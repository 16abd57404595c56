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
    rounding: float = 0.0  # what the rounding of the outputs contributes, about


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
    with np.errstate(all="ignore"):  # a gradient may hold infinities; the verdict says so
        return float(gradient[line] if isinstance(line, tuple) else np.sum(gradient * line))


def size(x: Any) -> Any:
    """|x|, but 1 at least: a step of 1e-6 would be lost beside 1e11."""
    return np.maximum(1.0, np.abs(x))


def length(x: np.ndarray, line: Line) -> float:
    """How far a step of 1 goes along the line: one element moves by its own size."""
    return float(size(x[line])) if isinstance(line, tuple) else 1.0


def moved(x: np.ndarray, line: Line, step: Any) -> np.ndarray:
    """x, `step` further along the line; complex if the step is."""
    far = step * length(x, line)
    x = np.array(x + 0 * step)  # also where x has no axes
    if isinstance(line, tuple):
        x[line] += far
    else:
        x += far * line
    return x


def central(subject: Subject, name: str, line: Line, h: float) -> Numeric:
    """The outputs are subtracted one by one and summed then: those that do not depend on what is
    moved leave no rounding behind."""
    x = subject.tensors[name]
    up, down = moved(x, line, h), moved(x, line, -h)
    # x + h is rounded: an element has moved by this much in truth
    step = float(up[line] - down[line]) if isinstance(line, tuple) else 2 * h
    if step == 0 or h < EPS / 10 or np.array_equal(up, down):
        raise ValueError(f"check: h = {h:g} is lost beside the values of {name}: choose a larger h")
    with np.errstate(all="ignore"):  # what overflows ends as infinity or NaN, and fails
        difference = subject.output(name, up) - subject.output(name, down)
        return Numeric(float(np.sum(difference * subject.dy)) / step, rounding(subject, step / 2))


def rounding(subject: Subject, h: float) -> float:
    """What the rounding of y makes of differences, about: a unit in the last place of each element.
    They round independently, so their parts add as a random walk."""
    return EPS * norm(subject.y * subject.dy) / h


def norm(a: np.ndarray) -> float:
    """The root of the sum of squares, also of 1e200: the largest is divided out before."""
    largest = float(np.max(np.abs(a)))
    if not 0 < largest < math.inf:
        return largest
    return largest * float(np.sqrt(np.sum((a / largest) ** 2)))


def noise(subject: Subject, name: str, line: Line, h: float) -> float:
    """How rough <y, dy> is at distances of h: float32 inside, or large numbers that cancel, make
    it rougher than the rounding of y alone.

    Of 13 values in a row the sixth differences are taken, to which a smooth function adds nothing;
    independent errors of size s give them a size of sqrt(924) s. Source: Hamming's difference
    tables, as in More & Wild, "Estimating computational noise" (2011).
    """
    x = subject.tensors[name]
    points = (moved(x, line, h * k / 6) for k in range(-6, 7))
    with np.errstate(all="ignore"):
        values = [
            float(np.sum((subject.output(name, at) - subject.y) * subject.dy)) for at in points
        ]
        return norm(np.diff(values, 6)) / math.sqrt(7 * 924)


def complex_step(subject: Subject, name: str, line: Line, h: float) -> Numeric:
    """Nothing is subtracted, so nothing is lost, however small h is."""
    x = subject.tensors[name]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", ComplexWarning)
            y = subject.output(name, moved(x, line, 1j * h))
    except (TypeError, ComplexWarning) as problem:
        raise NotAnalytic(
            f"check: {subject.name} does not take complex numbers in {name} ({problem}); the "
            "complex step needs that, method='central' does not"
        ) from None
    with np.errstate(all="ignore"):
        return Numeric(float(np.sum(np.imag(y) * subject.dy)) / (h * length(x, line)))


class NotAnalytic(ValueError):
    """The complex step does not apply: the function has no derivative in the complex sense."""


class NotLinear(ValueError):
    """Adjointness does not apply: the function is not linear."""


def require_analytic(subject: Subject, name: str, rng: np.random.Generator) -> None:
    """The complex step and differences of real numbers must tell the same.

    abs, var, conj, linalg.norm and all that drops an imaginary part are not analytic: under a
    complex step they give wrong numbers and no error.
    """
    if subject.analytic_to is None:
        return
    v = rng.standard_normal(subject.tensors[name].shape) * size(subject.tensors[name])
    imaginary = complex_step(subject, name, v, 1e-100).value
    real = [central(subject, name, v, h) for h in (1e-6, 1e-7, 1e-8)]  # shorter: fewer kinks
    for k, (by_differences, error) in enumerate(real):
        limit = subject.analytic_to * max(abs(imaginary), abs(by_differences))
        if k > 0 and 10 * error > limit:
            break  # a kink may be out of reach now, but so is everything else
        if abs(imaginary - by_differences) <= limit + 10 * error:
            return
    raise NotAnalytic(
        f"check: {subject.name} is not analytic in {name}: along a random direction the complex "
        f"step says {imaginary:.6g}, differences say {real[0].value:.6g}. abs, var, conj, norm and "
        ".real are not analytic (a kink at this place, or rounding, looks the same); use 'central'"
    )


def adjoint(subject: Subject, name: str, line: Line, h: float = 1.0) -> Numeric:
    """<f(v) - f(0), dy>, which is <v, J^T dy> for a linear f: no step size, no truncation."""
    zero = np.zeros_like(subject.tensors[name])
    at_line, at_zero = subject.output(name, moved(zero, line, 1.0)), subject.output(name, zero)
    error = EPS * float(np.sum((np.abs(at_line) + np.abs(at_zero)) * np.abs(subject.dy)))
    return Numeric(float(np.sum((at_line - at_zero) * subject.dy)), error)


def require_linear(subject: Subject, name: str, rng: np.random.Generator) -> None:
    """f(u + 2 v) - f(0) = f(u) - f(0) + 2 (f(v) - f(0)) must hold to rounding; u and v are as large
    as x is, and x is a part of u."""
    x = subject.tensors[name]
    u, v = rng.standard_normal((2, *x.shape)) * float(np.max(size(x)))
    u = u + x
    at_zero = subject.output(name, 0 * u)
    left, fu, fv = (subject.output(name, w) - at_zero for w in (u + 2 * v, u, v))
    most = float(np.max(np.abs(fu) + 2 * np.abs(fv) + np.abs(at_zero)))
    off = float(np.max(np.abs(left - fu - 2 * fv)))
    if not off <= 1e-12 * most:
        raise NotLinear(
            f"check: {subject.name} is not linear in {name}: f(u + 2v) and f(u) + 2 f(v) differ by "
            f"{off / most:.2g} of their size; adjointness needs a linear function, use "
            "method='central', or name the linear ones with only=[...]"
        )
