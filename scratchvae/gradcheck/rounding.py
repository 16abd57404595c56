"""How coarse a function is: the rounding of its own, measured.

A y of float64 may have been computed in float32, or be what is left of large numbers that cancel.
Then <y, dy> moves in jumps, and within a short step it may not move at all: a gradient of zero
agrees with that. So differences are believed only where longer steps tell the same: through the
slopes over three long steps goes a + b t^2 + c t^4, which a smooth function follows down to the
short step. Where it does not, the cause is looked for between the ends. What a kink or a curve adds
shrinks with the interval that holds it; a jump does not. A function that jumps on both sides is
coarse, and its jumps are the size of its rounding. A single jump nearby is a step, as of a sign.

More & Wild, "Estimating computational noise" (2011), find the same in difference tables, which say
"h too small" where many values are equal.
"""

from __future__ import annotations

import numpy as np

from .differences import EPS, Line, NotAnalytic, complex_step, moved, norm, rounding, size
from .subject import Subject

LONG = 1e-2  # a step that must tell the same as a short one
PLATEAU = 0.1  # an output that is constant so far, on one side at least, is constant
REACH = 0.03  # how far to look for jumps, of one element
LEAST_REACH = 1e-4  # along many: each of them may have a step of its own nearby
SHORTEST = 1e-12
STAYS = 8  # halvings: a kink falls to 1/256
ONE_BY_ONE = 200  # elements at most
OF_A_JUMP = 0.4  # the difference of two roundings is so large, on average


class _Along:
    """<y, dy> along a line, less where it starts; each place is asked for once."""

    def __init__(self, subject: Subject, name: str, line: Line) -> None:
        self.subject, self.name, self.line = subject, name, line
        self.known = {0.0: 0.0}
        self.moves = 1.0 if isinstance(line, tuple) else line

    def __call__(self, t: float) -> float:
        if t not in self.known:
            with np.errstate(all="ignore"):
                change = self.output(t) - self.subject.y
                self.known[t] = float(np.sum(change * self.subject.dy))
        return self.known[t]

    def output(self, t: float) -> np.ndarray:
        """y at t; NaN where the function has no value, whether or not it says so itself."""
        x = moved(self.subject.tensors[self.name], self.line, t)
        try:
            with np.errstate(all="ignore"):
                return self.subject.output(self.name, x)
        except Exception:
            return np.full(np.shape(self.subject.y), np.nan)

    def slope(self, t: float) -> float:
        return (self(t) - self(-t)) / (2 * t)

    def still(self, t: float) -> bool:
        """Whether no output has changed at t, by a single bit."""
        return np.array_equal(self.output(t), self.subject.y)


def own_rounding(
    subject: Subject, name: str, line: Line, h: float, scale: float, tolerance: float
) -> float:
    """The function's own rounding of <y, dy> along a line; 0 if it has none that matters to a step
    of h, where an error of tolerance * scale is allowed."""
    g = _Along(subject, name, line)
    far = max(LONG, 4 * h)
    for _ in range(3):  # a function may end nearby, as a logarithm does
        steps = (far, far / 2, far / 4)
        slopes = [g.slope(t) for t in steps]
        if np.isfinite(slopes).all() or far <= 40 * h:
            break
        far /= 10
    apart = abs(g.slope(h) - _extrapolated(steps, slopes, h))
    unit = max(scale, max(map(abs, slopes)) / (1.0 if isinstance(line, tuple) else norm(line)))
    if not apart > max(tolerance * unit, 10 * rounding(subject, h)):
        return 0.0
    reach = REACH if g.still(h) and g.still(-h) else REACH / np.count_nonzero(g.moves)
    return OF_A_JUMP * _jumps(g, max(reach, LEAST_REACH))


def require_precise(subject: Subject, name: str, v: np.ndarray) -> None:
    """The imaginary part of a complex step is lost where something computes in complex64: a
    gradient of zero would agree with that. Long steps must tell the same."""
    scale = float(np.max(np.abs(subject.gradients[name])))
    if subject.analytic_to is None or not (
        coarse := own_rounding(subject, name, v, 1e-6, scale, subject.analytic_to)
    ):
        return
    g, steps = _Along(subject, name, v), (REACH, REACH / 2, REACH / 4)
    slope = _extrapolated(steps, [g.slope(t) for t in steps], 0.0)
    imaginary = complex_step(subject, name, v, 1e-100).value
    if not abs(imaginary - slope) <= 1e-5 * abs(slope) + 10 * coarse / REACH:
        raise NotAnalytic(
            f"check: {subject.name} is too coarse in {name} for the complex step: along a random "
            f"direction that says {imaginary:.6g}, differences over a long step say {slope:.6g}. "
            "Something computes in complex64, or rounds; use 'central' with h=1e-3, tolerance=1e-3"
        )


def _extrapolated(steps: tuple[float, ...], slopes: list[float], to: float) -> float:
    """a + b t^2 + c t^4 through three slopes, at `to`."""
    total = 0.0
    for t, s in zip(steps, slopes, strict=True):
        for other in steps:
            if other != t:
                s *= (to**2 - other**2) / (t**2 - other**2)
        total += s
    return total


def _jumps(g: _Along, reach: float) -> float:
    """The size of the jumps, on the side that has the smaller ones; 0 if a side has none."""
    right = _jump(g, reach)
    return right and min(right, _jump(g, -reach))


def _jump(g: _Along, reach: float) -> float:
    """The largest jump between 0 and `reach`, about; 0 where there is none.

    Where the second difference is largest, the interval is halved, and again. That of a curve falls
    to a quarter each time and that of a kink to a half; that of a jump stays.
    """
    places = np.linspace(0, reach, 9)
    values = np.array([g(t) for t in places])
    slope = abs(values[-1] / reach) if np.isfinite(values[-1]) else 0.0
    # of the rounding of y and of x in float64 a long computation may make so much
    least = 100 * EPS * (norm(g.subject.y * g.subject.dy) + slope)
    seen: list[float] = []
    while abs(places[1] - places[0]) > SHORTEST:
        bends = np.nan_to_num(np.abs(np.diff(values, 2)), nan=0.0, posinf=0.0)
        at = int(np.argmax(bends))
        seen.append(float(bends[at]))
        if max(seen[-4:]) <= least and len(seen) >= 4:  # equal steps may cancel once or twice
            return 0.0
        places, values = places[at : at + 3], values[at : at + 3]
        middles = (places[1:] + places[:-1]) / 2
        places = np.insert(places, [1, 2], middles)
        values = np.insert(values, [1, 2], [g(t) for t in middles])
    return seen[-1] if seen[-1] > 0.5 * seen[-1 - STAYS] else 0.0


def is_constant(subject: Subject, name: str, line: Line) -> bool:
    """Whether no output changes over a long step, by a single bit, on one side at least."""
    g = _Along(subject, name, line)
    return any(g.still(side * PLATEAU) and g.still(side * PLATEAU / 3) for side in (1, -1))


def rounding_of_zeros(subject: Subject, name: str, rng: np.random.Generator) -> float:
    """Where backward says zero: is that because the function is too coarse to move there?

    Those elements are moved together, and one by one where that is not enough to say no.
    """
    x, gradient = subject.tensors[name], subject.gradients[name]
    zero = np.abs(gradient) <= 1e-13 * np.max(np.abs(gradient))
    together = np.where(zero, size(x) * rng.choice([-1.0, 1.0], x.shape), 0.0)
    if not zero.any() or not (jumps := rounding_of_still(subject, name, together)):
        return 0.0
    one_by_one = [tuple(map(int, at)) for at in rng.permutation(np.argwhere(zero))[:ONE_BY_ONE]]
    if len(one_by_one) == 1:
        return jumps
    each = (rounding_of_still(subject, name, at) for at in one_by_one)
    return next((jump for jump in each if jump), 0.0)


def rounding_of_still(subject: Subject, name: str, line: Line) -> float:
    """Along a line on which outputs may stand still: 0 if they are constant there, or smooth."""
    if is_constant(subject, name, line):
        return 0.0
    return OF_A_JUMP * _jumps(_Along(subject, name, line), PLATEAU)
