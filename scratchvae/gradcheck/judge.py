"""The judge: a gradient against its numeric counterpart, line by line, and a verdict.

Errors are measured per tensor, max|analytic - numeric| / max|analytic|: relative to the largest
element, because the smallest are all rounding. (Along a direction v of normal numbers <g, v> is
about as large as the norm of g, so that is what its error is relative to.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .differences import Line, Numeric, adjoint, along, central, complex_step, norm, size
from .differences import rounding as rounding_of
from .doubts import Measured, bend, bisect, hint_at, reconsidered
from .report import Result
from .subject import Subject

NUMERIC: dict[str, Callable[[Subject, str, Line, float], Numeric]] = {
    "central": central,
    "direction": central,
    "complex": complex_step,
    "adjoint": adjoint,
}
FLOAT32_NEGLIGIBLE = 1e-4  # of a backward in float32; the numeric side is always float64
LONG = 1e-2  # a step to show with that something is zero: truncation adds nothing to that


def judge(
    subject: Subject,
    name: str,
    method: str,
    lines: Sequence[Line],
    h: float,
    tolerance: float,
    largest_of_all: float,
) -> tuple[Result, Line]:
    """The result for one tensor, and the line where the sides are furthest apart."""
    gradient = subject.gradients[name]
    differences = method in ("central", "direction")

    def measure(line: Line, step: float = h) -> Measured:
        numeric, rounding = NUMERIC[method](subject, name, line, step)
        return Measured(line, along(gradient, line), numeric, rounding, step)

    measured = [measure(line) for line in lines]
    rounding = max(m.rounding for m in measured)
    most = float(np.max(np.abs([m.numeric for m in measured])))
    largest = float(np.max(np.abs(gradient)))
    along_all = norm(gradient * size(subject.tensors[name]))  # of a direction, about
    zero = largest <= _negligible(subject) * largest_of_all
    if zero and differences:  # they are never zero, for rounding: a long step has little of it
        measured = [measure(line, LONG) for line in lines]
        rounding = max(m.rounding for m in measured)
        most = float(np.max(np.abs([m.numeric for m in measured])))
        zero = most <= 10 * rounding <= tolerance * largest_of_all or most == rounding == 0
        measured = measured if zero else [measure(line) for line in lines]
    elif zero:
        zero = most <= subject.negligible * largest_of_all
    if largest == 0:  # a gradient of zero is wrong by 1, however small the true one is
        largest = along_all = most

    def scale(m: Measured) -> float:
        return largest if isinstance(m.line, tuple) else along_all

    def error(m: Measured) -> float:
        if m.off == 0 or math.isinf(m.off):
            return m.off
        return m.off / scale(m) if scale(m) > 0 else math.inf

    if zero and 0 < max(map(error, measured)) <= tolerance:
        zero = False  # small as they are, the two sides agree

    def rank(m: Measured) -> float:
        """Of two that are off by the same, but for rounding, the first is the worst."""
        return float(f"{error(m):.4g}")

    def doubted(m: Measured) -> Measured:
        if zero or error(m) <= tolerance:
            return m
        if differences:
            return reconsidered(m, measure, tolerance * scale(m), subject, name)
        if method == "complex":  # at a kink itself it takes the slope of one side
            by_differences = m._replace(step=1e-6, rounding=rounding_of(subject, 1e-6))
            slopes = bend(by_differences, subject, name)
            return m._replace(kinked=m.off <= 1.01 * slopes)
        return m._replace(uncertain=10 * m.rounding)  # a large constant part costs digits

    def standing(m: Measured) -> str:
        if m.kinked:
            return "kink"
        if not error(m) <= tolerance:
            return "wrong" if m.off > m.uncertain else "unsure"
        # Within the limit; but did rounding leave room for anything else to come?
        return "seen" if m.rounding <= tolerance * scale(m) else "blind"

    measured = [doubted(m) for m in measured]
    found: dict[str, list[Measured]] = {s: [] for s in ("wrong", "unsure", "blind", "kink", "seen")}
    for m in measured:
        found[standing(m)].append(m)
    whole = all(isinstance(line, tuple) for line in lines)
    shown = whole or any(isinstance(m.line, np.ndarray) for m in found["seen"])  # all of the tensor
    if zero:
        verdict = "zero"
    elif found["wrong"]:
        verdict = "FAIL"
    elif found["seen"] and shown and not found["unsure"]:
        verdict = "ok"
    else:
        verdict = "kinks" if found["kink"] and not found["unsure"] else "unseen"
    worst = next(max(of, key=rank) for of in (*found.values(), measured) if of)
    if verdict == "ok":
        worst = max(found["seen"] + found["blind"], key=error)
    instance, hint = worst, ""
    if verdict == "FAIL":
        elements = [m for m in found["wrong"] if isinstance(m.line, tuple)]
        instance = max(elements, key=rank, default=worst)  # it says more than a direction
        if whole and not found["kink"]:
            numeric = np.array([m.numeric for m in measured]).reshape(gradient.shape)
            hint = hint_at(gradient, numeric, tolerance)
    result = Result(
        tensor=name,
        shape=gradient.shape,
        compared=len(measured) - len(found["kink"]),
        skipped=len(found["kink"]),
        wrong=0 if zero else len(found["wrong"] + found["unsure"]),
        error=0.0 if zero else error(worst),
        limit=tolerance,
        where=instance.line if isinstance(instance.line, tuple) else None,
        analytic=instance.analytic,
        numeric=instance.numeric,
        step=instance.step,
        rounding=rounding / largest if largest > 0 and not zero else 0.0,
        verdict=verdict,
        hint=hint,
    )
    return result, instance.line


def _negligible(subject: Subject) -> float:
    """What counts as zero in backward, relative to the largest gradient of all tensors."""
    return subject.negligible if subject.dtype == "float64" else FLOAT32_NEGLIGIBLE


def located(subject: Subject, result: Result, method: str, line: Line) -> Result:
    """The result with an element in place of the direction along which the gradient is wrong."""
    gradient = subject.gradients[result.tensor]

    def numeric(line: Line) -> float:
        return NUMERIC[method](subject, result.tensor, line, result.step).value

    def off(part: np.ndarray) -> float:
        apart = abs(along(gradient, part) - numeric(part))
        return apart if math.isfinite(apart) else math.inf

    at = bisect(np.asarray(line), off)
    return result._replace(where=at, analytic=along(gradient, at), numeric=numeric(at))
