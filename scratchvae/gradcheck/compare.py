"""The judge: a gradient against its numeric counterpart, line by line, and a verdict.

Errors are measured per tensor, max|analytic - numeric| / max|analytic|: relative to the largest
element, because the smallest are all rounding. (Along a direction v of normal numbers <g, v> is
about as large as the norm of g, so that is what its error is relative to.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from .differences import (
    Line,
    Numeric,
    adjoint,
    along,
    central,
    complex_step,
    require_analytic,
    require_linear,
)
from .doubts import Measured, bisect, hint_at, reconsidered
from .report import METHODS, Report, Result
from .subject import Subject

NUMERIC: dict[str, Callable[[Subject, str, Line, float], Numeric]] = {
    "central": central,
    "direction": central,
    "complex": complex_step,
    "adjoint": adjoint,
}
STEP = {"central": 1e-6, "direction": 1e-6, "complex": 1e-100, "adjoint": math.nan}
LIMIT = {"central": 1e-7, "direction": 1e-7, "complex": 1e-12, "adjoint": 1e-12}
FLOAT32_LIMIT = 2e-5
NEGLIGIBLE = {"float64": 1e-12, "float32": 1e-6}  # of the subject's largest gradient
DIRECTIONS = 3
BISECTED = 3  # directions at most: one mistake may make fifty tensors wrong


def compare(
    subject: Subject,
    method: str = "central",
    *,
    h: float | None = None,
    tolerance: float | None = None,
    samples: int | None = None,
    only: Iterable[str] | None = None,
    seed: int = 0,
) -> Report:
    """Check the gradients of a subject; see `check` for the arguments."""
    if method not in METHODS:
        raise ValueError(f"check: method must be one of {', '.join(METHODS)}; got {method!r}")
    if h is not None and not 0 < h < math.inf:
        raise ValueError(f"check: h must be above 0, got {h}")
    names = [*subject.gradients] if only is None else [*only]
    if unknown := [name for name in names if name not in subject.gradients]:
        raise ValueError(
            f"check: {subject.name} has no gradient of {', '.join(unknown)}; there are those of "
            f"{', '.join(subject.gradients)}"
        )
    if tolerance is None:
        tolerance = LIMIT[method] if subject.dtype == np.float64 else FLOAT32_LIMIT
    h = STEP[method] if h is None else h
    sizes = (float(np.max(np.abs(g))) for g in subject.gradients.values())
    largest = max((size for size in sizes if math.isfinite(size)), default=0.0)
    rng = np.random.default_rng([seed, 3])
    results, directions = [], {}
    for name in names:
        if method == "complex" and not subject.complex_safe:
            require_analytic(subject, name, rng)
        if method == "adjoint":
            require_linear(subject, name, rng)
        lines = _lines(subject.gradients[name], method, samples, rng)
        result, directions[name] = _judge(subject, name, method, lines, h, tolerance, largest)
        results.append(result)
    blurred = [r for r in results if r.verdict == "FAIL" and r.where is None]
    for result in sorted(blurred, key=lambda r: -r.error)[:BISECTED]:
        located = _located(subject, result, method, directions[result.tensor])
        results[results.index(result)] = located
    return Report(subject.name, method, results)


def _lines(
    gradient: np.ndarray, method: str, samples: int | None, rng: np.random.Generator
) -> list[Line]:
    """Every element, or the largest, some at random and a direction; directions only."""
    if method in ("direction", "adjoint"):
        return [rng.standard_normal(gradient.shape) for _ in range(DIRECTIONS)]
    if samples is None:
        return [*np.ndindex(gradient.shape)]
    drawn = [int(np.argmax(np.abs(gradient))), *rng.integers(gradient.size, size=samples)]
    elements = (np.unravel_index(k, gradient.shape) for k in dict.fromkeys(map(int, drawn)))
    return [rng.standard_normal(gradient.shape), *(tuple(map(int, at)) for at in elements)]


def _judge(
    subject: Subject,
    name: str,
    method: str,
    lines: Sequence[Line],
    h: float,
    tolerance: float,
    largest_of_all: float,
) -> tuple[Result, Line]:
    """The result, and the line where the sides are furthest apart."""
    gradient = subject.gradients[name]
    largest, norm = float(np.max(np.abs(gradient))), float(np.linalg.norm(gradient))

    def measure(line: Line, step: float = h) -> Measured:
        numeric, rounding = NUMERIC[method](subject, name, line, step)
        return Measured(line, along(gradient, line), numeric, rounding, step)

    measured = [measure(line) for line in lines]
    rounding = max(m.rounding for m in measured)
    most = max(abs(m.numeric) for m in measured)
    zero = largest <= NEGLIGIBLE[str(subject.dtype)] * largest_of_all
    zero = zero and most <= max(NEGLIGIBLE["float64"] * largest_of_all, 10 * rounding)
    if largest == 0:  # a gradient of zero is wrong by 1, however small the true one is
        largest = norm = most

    def scale(m: Measured) -> float:
        return largest if isinstance(m.line, tuple) else norm

    def error(m: Measured) -> float:
        if m.off in (0.0, math.inf):
            return m.off
        return m.off / scale(m)

    def certain(m: Measured) -> bool:
        return error(m) > tolerance and m.off > m.uncertain

    if not zero and method in ("central", "direction"):
        measured = [
            m
            if error(m) <= tolerance
            else reconsidered(m, measure, tolerance * scale(m), subject, name)
            for m in measured
        ]
    if method == "adjoint":  # a constant part much larger than the linear one costs digits
        measured = [m._replace(uncertain=10 * m.rounding) for m in measured]
    kept = [m for m in measured if not m.kinked]
    worst = max(kept or measured, key=lambda m: (certain(m), error(m)))
    off_by = error(worst)
    wrong = sum(not error(m) <= tolerance for m in kept)
    hint = ""
    if zero:
        verdict, wrong = "zero", 0
    elif not kept:
        verdict = "kinks"
    elif error(worst) <= tolerance:
        verdict = "ok"
    elif not certain(worst):
        verdict = "unseen"
    else:
        verdict = "FAIL"
        if len(kept) == gradient.size and all(isinstance(line, tuple) for line in lines):
            numeric = np.array([m.numeric for m in measured]).reshape(gradient.shape)
            hint = hint_at(gradient, numeric, tolerance)
        elements = [m for m in kept if isinstance(m.line, tuple) and certain(m)]
        worst = max(elements, key=error, default=worst)  # an element says more than a direction
    result = Result(
        name,
        gradient.shape,
        len(kept),
        len(measured) - len(kept),
        wrong,
        0.0 if zero else off_by,
        tolerance,
        worst.line if isinstance(worst.line, tuple) else None,
        worst.analytic,
        worst.numeric,
        worst.step,
        0.0 if zero else rounding / largest,
        verdict,
        hint,
    )
    return result, worst.line


def _located(subject: Subject, result: Result, method: str, line: Line) -> Result:
    """The result with an element in place of the direction along which the gradient is wrong."""
    gradient = subject.gradients[result.tensor]

    def numeric(line: Line) -> float:
        return NUMERIC[method](subject, result.tensor, line, result.step).value

    def off(part: np.ndarray) -> float:
        apart = abs(along(gradient, part) - numeric(part))
        return apart if math.isfinite(apart) else math.inf

    at = bisect(np.asarray(line), off)
    return result._replace(where=at, analytic=along(gradient, at), numeric=numeric(at))
