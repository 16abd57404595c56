"""Measure the rounding of a function that is less precise than float64 ("coarse").

A float64 y may come from float32 arithmetic or from large numbers that cancel. Then <y, dy> moves
in jumps, or not at all within a short step, and a gradient of zero seems right. So differences must
agree with longer steps: a smooth function follows a + b t^2 + c t^4 through three long steps down
to the short one. Where it does not, bisect: the effect of a kink or a curve shrinks with the
interval, that of a jump does not. A function that jumps on both sides is coarse, and its jumps are
as large as its rounding. A single jump is a step, such as that of a sign.

More & Wild, "Estimating computational noise" (2011), do the same with difference tables, which
report "h too small" where many values are equal.
"""

import numpy as np

from .differences import EPS, Line, NotAnalytic, norm, rounding_of_y, size
from .subject import Subject
from .trials import largest

LONG = 1e-2  # a step that must agree with a short one
PLATEAU = 0.1  # an output that is constant up to here, on one side, is constant
REACH = 0.03  # how far to look for jumps, of one element
LEAST_REACH = 1e-4  # along many elements: each may have a step nearby
THREE_STEPS = np.array([1, 1 / 2, 1 / 4])  # of the longest
SHORTEST = 1e-12
STAYS = 8  # halvings: a kink falls to 1/256
ONE_BY_ONE = 200  # elements at most
OF_A_JUMP = 0.4  # rounding / jump, on average


def own_rounding(line: Line, h: float, scale: float, tolerance: float) -> float:
    """The function's own rounding of <y, dy> along a line; 0 if it does not matter to a step of h
    with an allowed error of tolerance * scale."""
    longest = max(LONG, 4 * h)
    for far in (longest, longest / 10, longest / 100):  # the domain may end nearby, as of a log
        slopes = [_slope(line, far * step) for step in THREE_STEPS]
        if np.isfinite(slopes).all() or far <= 40 * h:
            break
    apart = abs(_slope(line, h) - _extrapolated(far, slopes, h))
    unit = max(scale, largest(slopes) / line.norm)
    if not apart > max(tolerance * unit, 10 * rounding_of_y(line.subject, h)):
        return 0.0
    alone = _still(line, h) and _still(line, -h)
    reach = REACH if alone else REACH / np.count_nonzero(line.v)
    return OF_A_JUMP * _jumps(line, max(reach, LEAST_REACH))


def require_precise(line: Line) -> None:
    """Compare the complex step with long steps: complex64 would lose the imaginary part."""
    limit = line.subject.analytic_to
    scale = largest(line.subject.gradients[line.name])
    if limit is None or not (coarse := own_rounding(line, 1e-6, scale, limit)):
        return
    slopes = [_slope(line, REACH * step) for step in THREE_STEPS]
    slope = _extrapolated(REACH, slopes, 0.0)
    imaginary = line.complex_step()
    if not abs(imaginary - slope) <= 1e-5 * abs(slope) + 10 * coarse / REACH:
        raise NotAnalytic(
            f"check: {line.subject.name} is too coarse in {line.name} for the complex step: along "
            f"a random direction that gives {imaginary:.6g}, differences over a long step give "
            f"{slope:.6g}. It computes in complex64, or rounds: use 'central' with h=1e-3, "
            "tolerance=1e-3"
        )


def rounding_of_zeros(subject: Subject, name: str, rng: np.random.Generator) -> float:
    """The rounding of elements with a zero gradient: move them together, then one by one."""
    x, gradient = subject.tensors[name], subject.gradients[name]
    zero = np.abs(gradient) <= 1e-13 * largest(gradient)
    together = np.where(zero, size(x) * rng.choice([-1.0, 1.0], x.shape), 0.0)
    if not zero.any() or not rounding_of_still(Line(subject, name, together)):
        return 0.0
    one_by_one = rng.permutation(np.flatnonzero(zero))[:ONE_BY_ONE]
    each = (rounding_of_still(Line(subject, name, k)) for k in one_by_one)
    return next((jump for jump in each if jump), 0.0)


def rounding_of_still(line: Line) -> float:
    """The rounding along a line on which outputs may not change; 0 if constant or smooth."""
    return 0.0 if is_constant(line) else OF_A_JUMP * _jumps(line, PLATEAU)


def is_constant(line: Line) -> bool:
    """Whether all outputs stay equal over a long step, on one side at least."""
    return any(_still(line, far) and _still(line, far / 3) for far in (PLATEAU, -PLATEAU))


def _still(line: Line, t: float) -> bool:
    return np.array_equal(line.y(t), line.subject.y)


def _slope(line: Line, t: float) -> float:
    return (line.change(t) - line.change(-t)) / (2 * t)


def _extrapolated(far: float, slopes: list[float], to: float) -> float:
    """a + b t^2 + c t^4 through the three slopes, at `to`."""
    c_b_a = np.linalg.solve(np.vander(THREE_STEPS**2), slopes)
    return float(np.polyval(c_b_a, (to / far) ** 2))


def _jumps(line: Line, reach: float) -> float:
    """The size of the jumps on the side with the smaller ones; 0 if a side has none."""
    right = _jump(line, reach)
    return right and min(right, _jump(line, -reach))


def _jump(line: Line, reach: float) -> float:
    """The largest jump between 0 and `reach`, about; 0 without one. Halve where the second
    difference is largest: a curve's falls to a quarter, a kink's to a half, a jump's stays."""
    points = np.linspace(0, reach, 9)
    values = np.array([line.change(t) for t in points])
    slope = abs(values[-1] / reach) if np.isfinite(values[-1]) else 0.0
    # a long computation may amplify the float64 rounding of y and x to this
    least = 100 * EPS * (norm(line.subject.y * line.subject.dy) + slope)
    seen: list[float] = []
    while abs(points[1] - points[0]) > SHORTEST:
        bends = np.nan_to_num(np.abs(np.diff(values, 2)), nan=0.0, posinf=0.0)
        at = int(np.argmax(bends))
        seen.append(float(bends[at]))
        if max(seen[-4:]) <= least and len(seen) >= 4:  # equal steps may cancel once or twice
            return 0.0
        points, values = points[at : at + 3], values[at : at + 3]
        middles = (points[1:] + points[:-1]) / 2
        points = np.insert(points, [1, 2], middles)
        values = np.insert(values, [1, 2], [line.change(t) for t in middles])
    return seen[-1] if seen[-1] > 0.5 * seen[-1 - STAYS] else 0.0
