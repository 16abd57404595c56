"""What to make of a disagreement: a kink, a step too long, or a mistake; and where, and which."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .differences import Line, length, moved, noise, tensor_error
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
    jumps: Callable[[Measured, bool], float],
    tolerated: float,
    subject: Subject,
    name: str,
) -> Measured:
    """Second thoughts where the sides disagree: is it the differences that are off?

    Shorter steps are tried first: fewer kinks lie within them. But only as far as rounding leaves
    something to see there: where the output no longer changes, any gradient of zero agrees. If none
    agrees, there may still be a kink at this very place: with slopes s on one side and t on the
    other, central differences are off by |s - t| / 2. A line along which that is enough to explain
    the disagreement is left out. Otherwise the numeric side is certain up to what the step, kinks
    and noise change about it. `jumps` tells the function's own rounding along a line, or, asked
    whether it matters to a step, 0 where it does not.
    """
    far = first.step * length(subject.tensors[name], first.line)
    tried = [first]
    for by in (10, 100):
        if 10 * first.rounding * by <= first.off:
            tried.append(measure(first.line, first.step / by))
    for m in tried:
        if m.off <= tolerated:
            # a function that is too coarse for such a step stands still, which is no agreement
            coarse = 0.0 if m is first else jumps(m, True)
            return first._replace(uncertain=10 * coarse / far) if coarse else m
    if first.off <= 10 * first.rounding:
        return first._replace(uncertain=10 * first.rounding)
    shortest = tried[-1]
    kink, nearby = (bend(m, subject, name) for m in (shortest, first))
    rough = noise(subject, name, first.line, first.step) / far
    if rough > 0.1 * nearby:  # noise bends everywhere; a kink is 0.02 times as rough as it bends
        kink = nearby = 0.0
    at_this_place = 0 < shortest.off <= 0.51 * kink
    if at_this_place or (first.off <= 0.51 * nearby and shortest.off <= 10 * shortest.rounding):
        coarse = jumps(first, False)
        return first._replace(kinked=not coarse, uncertain=10 * coarse / far)
    # Within a single number, such as a loss, kinks of both signs may hide each other: hence the 10.
    by_kinks = kink * (10 if np.ndim(subject.y) == 0 else 1)
    other = tried[-2] if len(tried) > 1 else measure(first.line, 2 * first.step)
    by_step = abs(shortest.numeric - other.numeric)
    by_noise = 0.0 if kink else rough * first.step / shortest.step
    parts = (by_kinks, 10 * by_step, 10 * by_noise, 10 * shortest.rounding)
    return shortest._replace(uncertain=max(parts) if np.isfinite(parts).all() else math.inf)


def bend(m: Measured, subject: Subject, name: str) -> float:
    """How much the slopes on both sides differ because of kinks; 0 if the function is smooth.

    Without a kink they differ, too, but by an amount that halves with the step.
    """
    x = subject.tensors[name]

    def at(h: float) -> float:
        up, down = (subject.output(name, moved(x, m.line, step)) for step in (h, -h))
        with np.errstate(all="ignore"):
            bent = float(np.sum(np.abs((up - 2 * subject.y + down) * subject.dy)))
            return bent / (h * length(x, m.line))

    at_h = at(m.step)
    smooth = all(abs(at(m.step / by) - at_h / by) <= 0.1 * at_h / by for by in (2, 4))
    return 0.0 if smooth or not at_h > 20 * m.rounding else at_h


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
        return tensor_error(other, numeric) <= tolerance

    if not np.isfinite(analytic).all():
        return "hint: backward gives NaN or infinity"
    if not analytic.any():
        return "hint: backward gives zeros"
    at = np.unravel_index(np.argmax(np.abs(analytic)), analytic.shape)
    factor = float(numeric[at] / analytic[at])
    if factor and math.isfinite(factor) and fits(analytic * factor):
        return f"hint: it is {_short(1 / factor)} times what it should be, everywhere"
    square = analytic.ndim >= 2 and analytic.shape[-1] == analytic.shape[-2]
    if square and fits(analytic.swapaxes(-1, -2)):
        return "hint: its transpose (the last two axes exchanged) is right"
    return ""


def _short(number: float) -> str:
    """Six digits, or nine where six would say 1."""
    return f"{number:.6g}" if f"{number:.6g}" != "1" else f"{number:.9g}"
