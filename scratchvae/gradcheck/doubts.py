"""What to make of a disagreement: a kink, a step too long, or a mistake; and where, and which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .differences import Line, moved, tensor_error
from .subject import Subject


class Measured(NamedTuple):
    """Both sides along one line."""

    line: Line
    analytic: float
    numeric: float
    rounding: float
    step: float
    kinked: bool = False
    uncertain: float = 0.0  # how far the numeric side is off at most, as far as one can tell

    @property
    def off(self) -> float:
        """How far the two sides are apart: infinite if either is not finite."""
        off = abs(self.analytic - self.numeric)
        return off if math.isfinite(off) else math.inf


def reconsidered(
    first: Measured,
    measure: Callable[[Line, float], Measured],
    tolerated: float,
    subject: Subject,
    name: str,
) -> Measured:
    """Second thoughts where the sides disagree: is it the differences that are off?

    Shorter steps are tried first: fewer kinks lie within them. If none agrees, there may still be a
    kink at this very place: with slopes s on one side and t on the other, central differences are
    off by |s - t| / 2. A line along which that is enough to explain the disagreement is left out.
    Otherwise the numeric side is certain up to what the step, or kinks, change about it.
    """
    if first.off <= 10 * first.rounding:  # lost in rounding, of which shorter steps have more
        return first._replace(uncertain=10 * first.rounding)
    second, third = (measure(first.line, first.step / by) for by in (10, 100))
    best = min(first, second, third, key=lambda m: m.off)
    if best.off <= tolerated:
        return best
    bends = [(m, bend(m, subject, name)) for m in {first.step: first, best.step: best}.values()]
    if any(m.off <= 0.51 * slopes for m, slopes in bends):
        return best._replace(kinked=True)
    by_step = min(
        abs(first.numeric - second.numeric) + first.rounding,
        abs(second.numeric - third.numeric) + second.rounding,
    )
    # Within a single number, such as a loss, kinks of both signs may hide each other: hence the 10.
    by_kinks = max(slopes for _, slopes in bends) * (10 if np.ndim(subject.y) == 0 else 1)
    return best._replace(uncertain=max(10 * by_step, by_kinks))


def bend(m: Measured, subject: Subject, name: str) -> float:
    """How much the slopes on both sides differ because of kinks; 0 if the function is smooth.

    Without a kink they differ, too, but by an amount that halves with the step.
    """
    x = subject.tensors[name]

    def at(h: float) -> float:
        up, down = (subject.output(name, moved(x, m.line, step)) for step in (h, -h))
        return float(np.sum(np.abs((up - 2 * subject.y + down) * subject.dy))) / h

    at_h = at(m.step)
    smooth = all(abs(at(m.step / by) - at_h / by) <= 0.1 * at_h / by for by in (2, 4))
    return 0.0 if smooth or at_h <= 20 * m.rounding else at_h


def bisect(v: np.ndarray, off: Callable[[np.ndarray], float]) -> tuple[int, ...]:
    """An element whose gradient is wrong, found in a direction along which it is: halve the
    direction, and go on with the half that is further off."""

    def part(elements: np.ndarray) -> np.ndarray:
        part = np.zeros_like(v)
        part.flat[elements] = v.flat[elements]
        return part

    candidates = np.arange(v.size)
    while len(candidates) > 1:
        candidates = max(np.array_split(candidates, 2), key=lambda half: off(part(half)))
    return tuple(map(int, np.unravel_index(candidates[0], v.shape)))


def hint_at(analytic: np.ndarray, numeric: np.ndarray, tolerance: float) -> str:
    """What the mistake may be, where the whole gradient gives it away."""

    def fits(other: np.ndarray) -> bool:
        return tensor_error(other, numeric) <= 100 * tolerance

    if not np.isfinite(analytic).all():
        return "hint: backward gives NaN or infinity"
    if not analytic.any():
        return "hint: backward gives zeros"
    factor = float(np.sum(analytic * numeric) / np.sum(analytic**2))
    if factor and fits(analytic * factor):
        return f"hint: it is {1 / factor:.6g} times what it should be, everywhere"
    square = analytic.ndim >= 2 and analytic.shape[-1] == analytic.shape[-2]
    if square and fits(analytic.swapaxes(-1, -2)):
        return "hint: its transpose (the last two axes exchanged) is right"
    return ""
