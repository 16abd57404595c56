"""The numeric side: a Line through a tensor, and the change of <y, dy> by a small step along it."""

import math
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.exceptions import ComplexWarning

from .subject import Subject
from .trials import largest

EPS = float(np.finfo("float64").eps)
STEPS = np.logspace(0, -16, 33)  # of the error curves


class Line:
    """A line through a tensor: a number k moves element k, an array v moves all of them. A step of
    1 moves an element by max(1, |x|), since a step of 1e-6 would vanish in 1e11."""

    at: Any = ...
    element: tuple[int, ...] | None = None  # None: a direction

    def __init__(self, subject: Subject, name: str, path: Any) -> None:
        self.subject, self.name, self.x = subject, name, subject.tensors[name]
        if isinstance(path, np.ndarray):
            self.v, self.length, self.norm = path, 1.0, norm(path)
        else:
            self.at = self.element = tuple(map(int, np.unravel_index(path, self.x.shape)))
            self.v = size(self.x[self.at])
            self.length, self.norm = float(self.v), 1.0  # of a step of 1
        # the derivative along the line, from backward's gradient
        self.analytic = float(np.sum(subject.gradients[name][self.at] * (self.v / self.length)))

    def output(self, t: Any) -> np.ndarray:
        """The output t further along the line; complex if t is."""
        x = np.array(self.x + 0 * t)  # also where x has no axes
        x[self.at] += t * self.v
        return self.subject.output(self.name, x)

    def y(self, t: float) -> np.ndarray:
        """The same; NaN where the function has no value, or raises an error."""
        try:
            return self.output(t)
        except Exception:
            return np.full(np.shape(self.subject.y), np.nan)

    def change(self, t: float) -> float:
        """<y(t) - y(0), dy>, subtracted output by output: unchanged outputs add no rounding."""
        return float(np.sum((self.y(t) - self.subject.y) * self.subject.dy))

    def ends(self, h: float) -> tuple[Any, Any]:
        """What moves, h further along the line and h back."""
        return self.x[self.at] + h * self.v, self.x[self.at] - h * self.v

    def moves(self, h: float) -> bool:
        """Whether a step of h changes a number: x + 1e-16 is x if x is 1."""
        return h >= EPS / 10 and not np.array_equal(*self.ends(h))

    def central(self, h: float) -> tuple[float, float]:
        """Central differences, and an estimate of their error by rounding of the outputs."""
        up, down = self.ends(h)
        # x + h is rounded: the element moved by this much
        step = 2 * h if self.element is None else float(up - down)
        if not self.moves(h):
            raise ValueError(
                f"check: h = {h:g} is too small for the values of {self.name}: choose a larger h"
            )
        slope = float(np.sum((self.output(h) - self.output(-h)) * self.subject.dy)) / step
        return slope, rounding_of_y(self.subject, step / 2)

    def complex_step(self, h: float = 1e-100) -> float:
        """Nothing is subtracted, so nothing is lost, however small h is."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", ComplexWarning)
                y = self.output(1j * h)
        except (TypeError, ComplexWarning) as problem:
            raise NotAnalytic(
                f"check: {self.subject.name} does not accept complex numbers for {self.name} "
                f"({problem}), so the complex step does not apply: use method='central'"
            ) from None
        return float(np.sum(np.imag(y) * self.subject.dy)) / (h * self.length)

    def adjoint(self, h: float) -> tuple[float, float]:
        """<f(v) - f(0), dy>, which is <v, J^T dy> for a linear f: no step, no truncation."""
        v, dy = np.zeros_like(self.x), self.subject.dy
        at_zero = self.subject.output(self.name, v)
        v[self.at] = self.v
        at_v = self.subject.output(self.name, v)
        error = EPS * float(np.sum((np.abs(at_v) + np.abs(at_zero)) * np.abs(dy)))
        return float(np.sum((at_v - at_zero) * dy)) / self.length, error / self.length

    def bend(self, h: float, rounding: float = 0.0) -> float:
        """The difference of the slopes on both sides of kinks; 0 for a smooth function, where the
        difference halves with the step."""

        def at(h: float) -> float:
            second = (self.y(h) - 2 * self.subject.y + self.y(-h)) * self.subject.dy
            return float(np.sum(np.abs(second))) / (h * self.length)

        at_h = at(h)
        smooth = all(abs(at(h / by) - at_h / by) <= 0.1 * at_h / by for by in (2, 4))
        rounding = max(rounding, rounding_of_y(self.subject, h * self.length))
        return 0.0 if smooth or not at_h > 20 * rounding else at_h

    def noise(self, h: float) -> float:
        """How rough <y, dy> is at distances of h, by float32 inside or cancellation: its sixth
        differences, near zero for a smooth function; independent errors of size s make them
        sqrt(924) s. Source: Hamming's difference tables, as in More & Wild, see rounding.py."""
        values = [self.change(h * k / 6) for k in range(-6, 7)]
        return norm(np.diff(values, 6)) / math.sqrt(7 * 924)


# method -> the derivative along a line by a step of h, and its error by rounding of the outputs
NUMERIC: dict[str, Callable[[Line, float], tuple[float, float]]] = {
    "central": Line.central,
    "direction": Line.central,
    "complex": lambda line, h: (line.complex_step(h), 0.0),
    "adjoint": Line.adjoint,
}


def size(x: Any) -> Any:
    return np.maximum(1.0, np.abs(x))


def norm(a: np.ndarray) -> float:
    """The root of the sum of squares, scaled by the largest so that 1e200 does not overflow."""
    most = largest(a)
    if not 0 < most < math.inf:
        return most
    return most * float(np.sqrt(np.sum((a / most) ** 2)))


def rounding_of_y(subject: Subject, h: float) -> float:
    """An estimate of the error of differences by rounding of y: one unit in the last place of each
    output, added as a random walk."""
    return EPS * norm(subject.y * subject.dy) / h


def tensor_error(analytic: Any, numeric: Any) -> float:
    """max|analytic - numeric| / max|analytic|. If the analytic side is all zero, it is relative to
    the numeric side, so the error is 1. Infinite if either side is not finite."""
    worst = largest(analytic - numeric)
    if not math.isfinite(worst):
        return math.inf
    scale = largest(analytic) or largest(numeric)
    return worst / scale if scale > 0 else worst


class NotAnalytic(ValueError):
    """The complex step does not apply: the function is not complex differentiable."""


class NotLinear(ValueError):
    """Adjointness does not apply: the function is not linear."""


def require_analytic(line: Line) -> None:
    """The complex step must agree with real differences: abs, var, conj, linalg.norm and others
    drop an imaginary part and give wrong numbers without an error."""
    subject = line.subject
    if subject.analytic_to is None:
        return
    imaginary = line.complex_step()
    real = [line.central(h) for h in (1e-6, 1e-7, 1e-8)]  # shorter: fewer kinks
    for k, (by_differences, error) in enumerate(real):
        limit = subject.analytic_to * max(abs(imaginary), abs(by_differences))
        if k > 0 and 10 * error > limit:
            break  # shorter steps show nothing
        if abs(imaginary - by_differences) <= limit + 10 * error:
            return
    raise NotAnalytic(
        f"check: {subject.name} is not analytic in {line.name}: along a random direction the "
        f"complex step gives {imaginary:.6g}, differences give {real[0][0]:.6g}. abs, var, conj, "
        "norm and .real are not analytic (kinks and rounding look the same here); use 'central'"
    )


def require_linear(subject: Subject, name: str, rng: np.random.Generator) -> None:
    """f(u + 2 v) - f(0) = f(u) - f(0) + 2 (f(v) - f(0)), to rounding, for random u and v."""
    x = subject.tensors[name]
    u, v = rng.standard_normal((2, *x.shape)) * float(np.max(size(x)))
    u = u + x
    at_zero = subject.output(name, 0 * u)
    left, fu, fv = (subject.output(name, w) - at_zero for w in (u + 2 * v, u, v))
    most = largest(np.abs(fu) + 2 * np.abs(fv) + np.abs(at_zero))
    off = largest(left - fu - 2 * fv)
    if not off <= 1e-12 * most:
        raise NotLinear(
            f"check: {subject.name} is not linear in {name}: f(u + 2v) and f(u) + 2 f(v) differ by "
            f"{off / most:.2g} of their size; adjointness needs a linear function: use "
            "method='central', or select the linear inputs with only=[...]"
        )


class Curve(NamedTuple):
    """The error of three numeric derivatives along one direction of one tensor, by step."""

    tensor: str
    steps: np.ndarray
    one_sided: np.ndarray  # (f(x + h) - f(x)) / h
    central: np.ndarray
    complex: np.ndarray
    rounding: np.ndarray  # estimated error of the differences by rounding


@np.errstate(all="ignore")  # with h = 1 an exp may overflow: a gap in the picture
def error_curve(subject: Subject, name: str, seed: int = 0) -> Curve:
    """Numeric derivatives against backward, relative to the gradient's norm, for h from 1 down to
    1e-16, or to the last h that changes a number. Smaller errors are raised to 2.2e-16: a
    logarithmic axis has no zero."""
    rng = np.random.default_rng([seed, 4])
    line = Line(subject, name, np.asarray(rng.standard_normal(subject.tensors[name].shape)))
    scale = norm(subject.gradients[name]) or 1.0
    steps, rows = [h for h in map(float, STEPS) if line.moves(h)], []
    for h in steps:
        central, rounding = line.central(h)
        numeric = (line.change(h) / h, central, line.complex_step(h))
        errors = (max(abs(n - line.analytic) / scale, EPS) for n in numeric)
        rows.append([*errors, rounding / scale])
    return Curve(name, np.array(steps), *np.array(rows).T)


def elementwise(subject: Subject, name: str, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Analytic and complex-step gradient of a convolution's first `count` kernels (C, KH, KW)."""
    analytic = subject.gradients[name][:count]
    numeric = [Line(subject, name, k).complex_step() for k in range(analytic.size)]
    return analytic, np.reshape(numeric, analytic.shape)
