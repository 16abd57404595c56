"""The judge: a gradient against its numeric counterpart, line by line, and a verdict.

Errors are measured per tensor, max|analytic - numeric| / max|analytic|: relative to the largest
element, because the smallest are all rounding. (Along a random direction v <g, v> is about as large
as the norm of g, so its error is relative to that.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from .differences import (
    Line,
    Numeric,
    adjoint,
    along,
    central,
    complex_step,
    length,
    norm,
    rounding,
    size,
)
from .doubts import Measured, bend, bisect, hint_at, reconsidered
from .report import Result
from .rounding import LONG, is_constant, own_rounding, rounding_of_still
from .subject import Subject

NUMERIC: dict[str, Callable[[Subject, str, Line, float], Numeric]] = {
    "central": central,
    "direction": central,
    "complex": complex_step,
    "adjoint": adjoint,
}
FLOAT32_NEGLIGIBLE = 1e-4  # of a backward in float32; the numeric side is always float64
FLOAT_MAX = float(np.finfo("float64").max)
BESIDE = 1e-10  # a gradient is shown to be zero to this part of the largest, by differences


class Scales(NamedTuple):
    """What errors are relative to: the largest element, or the size of a directional derivative."""

    element: float
    direction: float
    atol: float = 0.0  # what any element may be off by

    def of(self, m: Measured) -> float:
        return self.element if isinstance(m.line, tuple) else self.direction

    def allowed(self, m: Measured, tolerance: float) -> float:
        """How far the sides may be apart."""
        extent = 1.0 if isinstance(m.line, tuple) else norm(m.line)
        return min(max(tolerance * self.of(m), self.atol * extent), FLOAT_MAX)  # infinity is more

    def error(self, m: Measured) -> float:
        if m.off in (0, math.inf):
            return m.off
        return m.off / self.of(m) if self.of(m) > 0 else math.inf

    def rank(self, m: Measured) -> float:
        """Of two that are off by the same, but for rounding, the first is the worst."""
        return float(f"{self.error(m):.4g}")


def judge(
    subject: Subject,
    name: str,
    method: str,
    lines: Sequence[Line],
    h: float,
    tolerance: float,
    atol: float,
    largest_of_all: float,
    coarse: float = 0.0,
) -> tuple[Result, Line]:
    """The result for one tensor, and the line where the sides are furthest apart. `coarse` is the
    function's own rounding, where that is more than y's."""
    gradient = subject.gradients[name]

    def measure(line: Line, step: float = h) -> Measured:
        numeric, rounding = NUMERIC[method](subject, name, line, step)
        rounding = max(rounding, coarse / (step * length(subject.tensors[name], line)))
        return Measured(line, along(gradient, line), numeric, rounding, step)

    bar = tqdm(lines, name, leave=False, disable=None, delay=2)
    measured = [measure(line) for line in bar]
    scales = Scales(
        float(np.max(np.abs(gradient))), norm(gradient * size(subject.tensors[name])), atol
    )
    if scales.element == 0:  # a gradient of zero is wrong by 1, however small the true one is
        scales = Scales(_largest(measured), _largest(measured), atol)
    if _is_zero(subject, name, method, lines, measure, measured, largest_of_all, tolerance):
        found, verdict = {"seen": measured, "wrong": [], "unsure": [], "kink": []}, "zero"
    else:
        doubted = (_doubted(m, subject, name, method, measure, scales, tolerance) for m in measured)
        found = _sorted(doubted, scales, tolerance)
        verdict = _verdict(found, lines)
        by_differences = method in ("central", "direction") and not subject.known
        if verdict == "FAIL" and by_differences and not coarse:
            m = max(found["wrong"], key=scales.rank)
            if coarse := rounding_of_still(subject, name, m.line):  # so coarse that it stands still
                return judge(
                    subject, name, method, lines, h, tolerance, atol, largest_of_all, coarse
                )
    worst = max(next(of for of in found.values() if of), key=scales.rank)
    hint = ""
    if verdict == "FAIL":
        elements = [m for m in found["wrong"] if isinstance(m.line, tuple)]
        worst = max(elements, key=scales.rank, default=worst)  # it says more than a direction
        if _is_whole(lines) and not found["kink"]:
            numeric = np.array([m.numeric for m in measured]).reshape(gradient.shape)
            hint = hint_at(gradient, numeric, tolerance)
    off = found["wrong"] + found["unsure"]
    result = Result(
        tensor=name,
        shape=gradient.shape,
        compared=len(lines) - len(found["kink"]),
        skipped=len(found["kink"]),
        wrong=len(off),
        error=0.0 if verdict == "zero" else max(map(scales.error, off or [worst])),
        limit=tolerance,
        where=worst.line if isinstance(worst.line, tuple) else None,
        analytic=worst.analytic,
        numeric=worst.numeric,
        step=worst.step,
        rounding=max(m.rounding for m in measured) / (scales.element or 1.0),
        verdict=verdict,
        hint=hint,
    )
    return result, worst.line


def _doubted(
    m: Measured,
    subject: Subject,
    name: str,
    method: str,
    measure: Callable[[Line, float], Measured],
    scales: Scales,
    tolerance: float,
) -> Measured:
    """Where the sides disagree: what can be said for it."""
    if m.off <= scales.allowed(m, tolerance):
        return m
    if method == "complex":  # at a kink itself it takes the slope of one side
        slopes = bend(m._replace(step=1e-6, rounding=rounding(subject, 1e-6)), subject, name)
        return m._replace(kinked=m.off <= 1.01 * slopes)
    if method == "adjoint":  # a large constant part costs digits
        return m._replace(uncertain=10 * m.rounding)

    def jumps(at: Measured, only_if_it_matters: bool) -> float:
        if subject.known:
            return 0.0
        if only_if_it_matters:
            return own_rounding(subject, name, at.line, at.step, scales.of(at), tolerance)
        return rounding_of_still(subject, name, at.line)

    return reconsidered(m, measure, jumps, scales.allowed(m, tolerance), subject, name)


def _sorted(
    measured: Iterable[Measured], scales: Scales, tolerance: float
) -> dict[str, list[Measured]]:
    """wrong, unsure: beyond the limit, for certain or not. seen, blind: within it, where rounding
    has left room for anything else to come, or has not. kink: left out."""
    found: dict[str, list[Measured]] = {s: [] for s in ("wrong", "unsure", "seen", "blind", "kink")}
    for m in measured:
        if m.kinked:
            found["kink"].append(m)
        elif not m.off <= scales.allowed(m, tolerance):
            found["wrong" if m.off > m.uncertain else "unsure"].append(m)
        else:
            found["seen" if m.rounding <= scales.allowed(m, tolerance) else "blind"].append(m)
    return found


def _verdict(found: dict[str, list[Measured]], lines: Sequence[Line]) -> str:
    if found["wrong"]:
        return "FAIL"
    directions = any(isinstance(m.line, np.ndarray) for m in found["seen"])
    if found["seen"] and (directions or _is_whole(lines)) and not found["unsure"]:
        return "ok"  # all of the tensor has been looked at
    return "kinks" if found["kink"] and not found["unsure"] else "unseen"


def _is_whole(lines: Sequence[Line]) -> bool:
    """Whether the lines are the elements, one by one."""
    return all(isinstance(line, tuple) for line in lines)


def _largest(measured: Sequence[Measured]) -> float:
    return float(np.max(np.abs([m.numeric for m in measured])))


def _is_zero(
    subject: Subject,
    name: str,
    method: str,
    lines: Sequence[Line],
    measure: Callable[[Line, float], Measured],
    measured: Sequence[Measured],
    largest_of_all: float,
    tolerance: float,
) -> bool:
    """Both sides are nothing beside the subject's other gradients, or nothing at all."""
    gradient = subject.gradients[name]
    negligible = subject.negligible if subject.dtype == "float64" else FLOAT32_NEGLIGIBLE
    if not np.max(np.abs(gradient)) <= negligible * largest_of_all:
        return False
    apart = max(m.off for m in measured)
    if 0 < apart <= tolerance * float(np.max(np.abs(gradient))):
        return False  # small as they are, the two sides agree
    if method in ("complex", "adjoint"):
        return _largest(measured) <= subject.negligible * largest_of_all
    far = [measure(line, LONG) for line in lines]
    if not gradient.any() and not any(m.numeric for m in measured):
        return all(m.numeric == 0 or is_constant(subject, name, m.line) for m in far)
    # differences are seldom zero, for rounding: a long step has little of that
    hidden = 10 * max(m.rounding for m in far)
    return _largest(far) <= hidden and (hidden <= BESIDE * largest_of_all or hidden == 0)


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
