"""All tensors of a subject before the judge, along lines chosen by the method."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from .differences import Line, require_analytic, require_linear, size
from .judge import judge, located
from .report import METHODS, Report
from .rounding import own_rounding, rounding_of_zeros
from .subject import Subject

STEP = {"central": 1e-6, "direction": 1e-6, "complex": 1e-100, "adjoint": 1.0}
LIMIT = {"central": 1e-7, "direction": 1e-7, "complex": 1e-12, "adjoint": 1e-12}
FLOAT32_LIMIT = 2e-5
DIRECTIONS = 3
BISECTED = 3  # directions at most: one mistake may make fifty tensors wrong


def compare(
    subject: Subject,
    method: str = "central",
    *,
    h: float | None = None,
    tolerance: float | None = None,
    samples: int | None = None,
    only: Sequence[str] | None = None,
    seed: int = 0,
) -> Report:
    """Check the gradients of a subject; see `check` for the arguments."""
    if method not in METHODS:
        raise ValueError(f"check: method must be one of {', '.join(METHODS)}; got {method!r}")
    h = STEP[method] if h is None else h
    if tolerance is None:
        tolerance = LIMIT[method] if subject.dtype == "float64" else FLOAT32_LIMIT
    for what, number in (("h", h), ("tolerance", tolerance)):
        if not (isinstance(number, int | float | np.floating) and 0 < number < math.inf):
            raise ValueError(f"check: {what} must be a number above 0, got {number!r}")
    if samples is not None and not (isinstance(samples, int | np.integer) and samples >= 0):
        raise ValueError(f"check: samples must be None or an int of at least 0, got {samples!r}")
    names = [*subject.gradients] if only is None else [only] if isinstance(only, str) else [*only]
    unknown = [str(name) for name in names if name not in subject.gradients]
    if unknown or not names:
        raise ValueError(
            f"check: {subject.name} has no gradient of {', '.join(unknown) or 'nothing'}; there "
            f"are those of {', '.join(subject.gradients) or 'nothing'}"
        )
    each = (float(np.max(np.abs(g))) for g in subject.gradients.values())
    largest = max(filter(math.isfinite, each), default=0.0)
    rng = np.random.default_rng([seed, 3])
    results, directions = [], {}
    for name in names:
        if method == "complex":
            require_analytic(subject, name, rng)
        if method == "adjoint":
            require_linear(subject, name, rng)
        lines = _lines(subject, name, method, samples, rng)
        coarse = 0.0
        if method in ("central", "direction") and not subject.known:
            coarse = _coarse(subject, name, lines, h, tolerance, rng)
        result, directions[name] = judge(
            subject, name, method, lines, h, tolerance, largest, coarse
        )
        results.append(result)
    blurred = [r for r in results if r.verdict == "FAIL" and r.where is None]
    for result in sorted(blurred, key=lambda r: -r.error)[:BISECTED]:
        where = results.index(result)
        results[where] = located(subject, result, method, directions[result.tensor])
    return Report(subject.name, method, results)


def _direction(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """At random, but no element moves by less than half of its size: what is wrong at one of them
    is not hidden by the others."""
    signs = rng.choice([-1.0, 1.0], x.shape)
    return np.asarray(signs * rng.uniform(0.5, 1.5, x.shape) * size(x))


def _coarse(
    subject: Subject,
    name: str,
    lines: Sequence[Line],
    h: float,
    tolerance: float,
    rng: np.random.Generator,
) -> float:
    """The function's own rounding, if it matters: 0 for most."""
    x, gradient = subject.tensors[name], subject.gradients[name]
    v = next((line for line in lines if isinstance(line, np.ndarray)), _direction(x, rng))
    scale = float(np.max(np.abs(gradient * size(x))))
    along_v = own_rounding(subject, name, v, h, scale, tolerance)
    return max(along_v, rounding_of_zeros(subject, name, rng))


def _lines(
    subject: Subject, name: str, method: str, samples: int | None, rng: np.random.Generator
) -> list[Line]:
    """Every element, or a direction, the largest and some at random; directions only."""
    x, gradient = subject.tensors[name], subject.gradients[name]

    def direction() -> np.ndarray:
        return _direction(x, rng)

    if method in ("direction", "adjoint"):
        return [direction() for _ in range(DIRECTIONS)]
    if samples is None:
        return [*np.ndindex(x.shape)]
    drawn = [int(np.argmax(np.abs(gradient))), *rng.integers(x.size, size=samples)]
    elements = (np.unravel_index(k, x.shape) for k in dict.fromkeys(map(int, drawn)))
    return [direction(), *(tuple(map(int, at)) for at in elements)]
