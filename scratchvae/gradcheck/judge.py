"""Compare each gradient with its numeric counterpart, line by line, and give a verdict.

Errors are max|analytic - numeric| / max|analytic| per tensor: the smallest elements are mostly
rounding. Along a random direction v, <g, v> is about as large as the norm of g, so there the error
is relative to the norm.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from ..output import progress
from . import rounding
from .differences import NUMERIC, Line, norm, require_analytic, require_linear, size
from .hints import Comparison
from .report import METHODS, GradientError, Report, Result
from .subject import Subject
from .trials import largest

STEP = {"central": 1e-6, "direction": 1e-6, "complex": 1e-100, "adjoint": 1.0}
LIMIT = {"central": 1e-7, "direction": 1e-7, "complex": 1e-12, "adjoint": 1e-12}
FLOAT32_LIMIT = 2e-5
FLOAT32_NEGLIGIBLE = 1e-4  # of a backward in float32; the numeric side is always float64
BESIDE = 1e-10  # differences can confirm a zero only up to this fraction of the largest
DIRECTIONS = 3
ELEMENTS = 10_000  # of one tensor; of a larger one samples are taken
SAMPLES = 4
BISECTED = 3  # directions at most: one mistake may affect fifty tensors


@np.errstate(all="ignore")  # overflow gives infinity or NaN, and fails
def compare(
    subject: Subject,
    method: str = "central",
    h: float | None = None,
    tolerance: float | None = None,
    atol: float = 0.0,
    samples: int | str | None = None,
    only: Sequence[str] | None = None,
    seed: int = 0,
    raises: bool = True,
) -> Report:
    """Check the gradients of a subject; see `check` for the arguments."""
    if method not in METHODS:
        raise ValueError(f"check: method must be one of {', '.join(METHODS)}; got {method!r}")
    h = STEP[method] if h is None else h
    if tolerance is None:
        tolerance = LIMIT[method] if subject.dtype == "float64" else FLOAT32_LIMIT
    for what, number in (("h", h), ("tolerance", tolerance), ("atol", atol)):
        valid = isinstance(number, int | float | np.floating) and 0 <= number < math.inf
        if not valid or (number == 0 and what != "atol"):
            least = "of at least 0" if what == "atol" else "above 0"
            raise ValueError(f"check: {what} must be a number {least}, got {number!r}")
    if not (samples in (None, "all") or (isinstance(samples, int | np.integer) and samples >= 0)):
        raise ValueError(f"check: samples must be an int of at least 0 or 'all', got {samples!r}")
    known = [n for n in subject.tensors if n in subject.gradients or n in subject.missing]
    names = known if only is None else [only] if isinstance(only, str) else [*only]
    unknown = ", ".join(str(name) for name in names if name not in known)
    if unknown or not names:
        raise ValueError(
            f"check: {subject.name}: cannot check {unknown or 'nothing'}; choose from "
            f"{', '.join(known) or 'nothing'}"
        )

    rng = np.random.default_rng([seed, 3])
    results, worst, notes = [], {}, []
    for name in names:
        x = subject.tensors[name]
        if name in subject.missing:
            results.append(Result(name, x.shape, tolerance, "not checked"))
            continue
        if method == "complex":
            line = _direction(subject, name, rng)
            require_analytic(line)
            rounding.require_precise(line)
        if method == "adjoint":
            require_linear(subject, name, rng)
        by_element = method in ("central", "complex")
        too_many = samples is None and by_element and x.size > ELEMENTS
        if too_many:
            notes.append(
                f"{name}: checked {SAMPLES + 1} of its {x.size:,} elements, and {DIRECTIONS} "
                "random directions (samples='all' checks every element)"
            )
        count = DIRECTIONS if too_many or not by_element else int(samples not in (None, "all"))
        lines = [_direction(subject, name, rng) for _ in range(count)]
        if by_element:
            found = _elements(subject.gradients[name], SAMPLES if too_many else samples, rng)
            lines += [Line(subject, name, k) for k in found]
        judge = Judge(subject, name, method, lines, h, tolerance, atol, rng)
        result, line = judge.result()
        worst[name] = judge, line
        if result.verdict == "unseen" and judge.may_be_coarse:
            result = result._replace(hint=_advice(judge, result.hint))
        results.append(result)
    blurred = [r for r in results if r.verdict == "FAIL" and r.where is None]
    for result in sorted(blurred, key=lambda r: -r.error)[:BISECTED]:
        results[results.index(result)] = _located(result, *worst[result.tensor])
    report = Report(subject.name, method, results, subject.trials(tolerance, atol), notes)
    if raises and not report.passed:
        raise GradientError(report)
    return report


def _elements(gradient: np.ndarray, samples: Any, rng: np.random.Generator) -> Iterable[Any]:
    """Every element, or the one with the largest gradient and some at random."""
    if samples in (None, "all"):
        return range(gradient.size)
    return dict.fromkeys([np.argmax(np.abs(gradient)), *rng.integers(gradient.size, size=samples)])


def _direction(subject: Subject, name: str, rng: np.random.Generator) -> Line:
    """A random direction that moves every element by at least half of its size."""
    x = subject.tensors[name]
    signs = rng.choice([-1.0, 1.0], x.shape)
    return Line(subject, name, np.asarray(signs * rng.uniform(0.5, 1.5, x.shape) * size(x)))


class Measured(NamedTuple):
    """Both sides along one line."""

    line: Line
    numeric: float
    rounding: float
    step: float
    off: float  # the difference of the two sides; infinite if either is not finite


@dataclass
class Judge:
    """One tensor's gradient, compared with a method along some lines."""

    subject: Subject
    name: str
    method: str
    lines: list[Line]
    h: float
    tolerance: float
    atol: float
    rng: np.random.Generator
    coarse: float | None = None  # the function's own rounding, if larger than y's

    def __post_init__(self) -> None:
        self.gradient = self.subject.gradients[self.name]
        self.largest = largest(self.gradient)
        self.by_differences = self.method in ("central", "direction")
        self.may_be_coarse = self.by_differences and not self.subject.known
        if self.may_be_coarse and self.coarse is None:
            another = _direction(self.subject, self.name, self.rng)
            line = next((line for line in self.lines if line.element is None), another)
            scale = largest(self.gradient * size(line.x))
            coarse = rounding.own_rounding(line, self.h, scale, self.tolerance)
            self.coarse = coarse or rounding.rounding_of_zeros(self.subject, self.name, self.rng)
        bar = progress(self.lines, self.name, delay=2)
        self.measured = [self.measure(line, self.h) for line in bar]
        # what the error of an element is relative to, and that of a direction
        self.scales = self.largest, norm(self.gradient * size(self.subject.tensors[self.name]))
        if self.largest == 0:  # zeros have an error of 1
            self.scales = (largest([m.numeric for m in self.measured]),) * 2

    def measure(self, line: Line, step: float) -> Measured:
        numeric, of_y = NUMERIC[self.method](line, step)
        own = (self.coarse or 0.0) / (step * line.length)
        off = abs(line.analytic - numeric)
        off = off if math.isfinite(off) else math.inf
        return Measured(line, numeric, max(of_y, own), step, off)

    def scale(self, m: Measured) -> float:
        """The number that the error is relative to."""
        return self.scales[m.line.element is None]

    def allowed(self, m: Measured) -> float:
        limit = max(self.tolerance * self.scale(m), self.atol * m.line.norm)
        return min(limit, float(np.finfo("float64").max))  # less than infinity

    def error(self, m: Measured) -> float:
        """The difference of the two sides, relative to the scale."""
        if m.off in (0, math.inf):
            return m.off
        return m.off / self.scale(m) if self.scale(m) > 0 else math.inf

    def worst(self, measured: Sequence[Measured]) -> Measured:
        """The largest error; of several that are equal up to rounding, the first."""
        return max(measured, key=lambda m: float(f"{self.error(m):.4g}"))

    def result(self) -> tuple[Result, Line]:
        """The verdict with its numbers, and the line with the largest error."""
        hint, whole = "", all(line.element is not None for line in self.lines)
        found: dict[str, list[Measured]]
        found = {kind: [] for kind in ("wrong", "unsure", "seen", "blind", "kink")}
        if self.is_zero():
            found["seen"], verdict = self.measured, "zero"
        else:
            for kind, m in map(self.doubted, self.measured):
                found[kind].append(m)
            verdict = _verdict(found, whole)
        worst = self.worst(next(of for of in found.values() if of))
        if verdict == "FAIL":
            may_stand_still = self.may_be_coarse and not self.coarse
            if may_stand_still and (coarse := rounding.rounding_of_still(worst.line)):
                return replace(self, coarse=coarse).result()
            # prefer an element to a direction
            elements = [m for m in found["wrong"] if m.line.element is not None]
            worst = self.worst(elements or [worst])
            if whole and not found["kink"]:
                numeric = np.reshape([m.numeric for m in self.measured], self.gradient.shape)
                hint = self.hint(numeric)
        if verdict == "unseen":
            hint = "because of rounding or kinks: try another h, or method='complex'"
        off = found["wrong"] + found["unsure"]
        result = Result(
            tensor=self.name,
            shape=self.gradient.shape,
            limit=self.tolerance,
            verdict=verdict,
            compared=len(self.lines) - len(found["kink"]),
            skipped=len(found["kink"]),
            wrong=len(off),
            error=0.0 if verdict == "zero" else max(map(self.error, off or [worst])),
            where=worst.line.element,
            analytic=worst.line.analytic,
            numeric=worst.numeric,
            step=worst.step,
            rounding=max(m.rounding for m in self.measured) / (self.scales[0] or 1.0),
            hint=hint,
        )
        return result, worst.line

    def hint(self, numeric: np.ndarray) -> str:
        """What the wrong gradient looks like, from all its elements."""
        others = {n: g for n, g in self.subject.gradients.items() if n != self.name}
        known = self.subject.tensors | {"dy": self.subject.dy}
        ideas = Comparison(self.gradient, numeric, self.tolerance, known, others).ideas()
        idea = next(ideas, "")
        return f"hint: {idea}" if idea else ""

    def is_zero(self) -> bool:
        """Whether both sides are zero, or negligible beside the subject's other gradients."""
        exact = self.subject.dtype == "float64"
        negligible = self.subject.negligible if exact else FLOAT32_NEGLIGIBLE
        if not self.largest <= negligible * self.subject.largest:
            return False
        if 0 < max(m.off for m in self.measured) <= self.tolerance * self.largest:
            return False  # both sides are small, and agree
        if not self.by_differences:
            most = self.subject.negligible * self.subject.largest
            return largest([m.numeric for m in self.measured]) <= most
        far = [self.measure(line, rounding.LONG) for line in self.lines]
        if not self.gradient.any() and not any(m.numeric for m in self.measured):
            return all(m.numeric == 0 or rounding.is_constant(m.line) for m in far)
        # because of rounding, differences are seldom zero; a long step reduces it
        hidden = 10 * max(m.rounding for m in far)
        shown = hidden <= BESIDE * self.subject.largest or hidden == 0
        return shown and largest([m.numeric for m in far]) <= hidden

    def kind(self, m: Measured, uncertain: float = 0.0) -> tuple[str, Measured]:
        """wrong, unsure: beyond the limit, and more or less than the numeric side may be wrong by.
        seen, blind: within the limit, with small or large rounding."""
        if not m.off <= self.allowed(m):
            return "wrong" if m.off > uncertain else "unsure", m
        return "seen" if m.rounding <= self.allowed(m) else "blind", m

    def doubted(self, first: Measured) -> tuple[str, Measured]:
        """Look again where the two sides disagree: the numeric one may be wrong.

        Of differences, shorter steps contain fewer kinks, so try them, as long as rounding does not
        hide the change of the output. If none agrees, there may be a kink at this point: with
        slopes s and t on its sides, central differences are off by |s - t| / 2. If that explains
        the disagreement, leave the line out. Otherwise the step, kinks and noise bound the error.
        """
        line, far = first.line, first.step * first.line.length
        if first.off <= self.allowed(first):
            return self.kind(first)
        if self.method == "complex":  # at a kink itself it takes the slope of one side
            return ("kink", first) if first.off <= 1.01 * line.bend(1e-6) else self.kind(first)
        if self.method == "adjoint":  # a large constant part costs digits
            return self.kind(first, 10 * first.rounding)
        tried = [first]
        for by in (10, 100):
            if 10 * first.rounding * by > first.off:
                break
            tried.append(m := self.measure(line, first.step / by))
            if m.off <= self.allowed(m):
                if self.subject.known:
                    return self.kind(m)
                # if the output of a coarse function does not change, that is not agreement
                coarse = rounding.own_rounding(line, m.step, self.scale(m), self.tolerance)
                return self.kind(first, 10 * coarse / far) if coarse else self.kind(m)
        if first.off <= 10 * first.rounding:
            return "unsure", first
        shortest = tried[-1]
        kink, nearby = (line.bend(m.step, m.rounding) for m in (shortest, first))
        rough = line.noise(first.step) / far
        if rough > 0.1 * nearby:  # then it is noise: a kink is only 0.02 times as rough
            kink = nearby = 0.0
        at_this_point = 0 < shortest.off <= 0.51 * kink
        if at_this_point or (first.off <= 0.51 * nearby and shortest.off <= 10 * shortest.rounding):
            coarse = 0.0 if self.subject.known else rounding.rounding_of_still(line)
            return self.kind(first, 10 * coarse / far) if coarse else ("kink", first)
        # Factor 10: in a single number, such as a loss, kinks of both signs may cancel.
        by_kinks = kink * (10 if self.subject.y.size == 1 else 1)
        other = tried[-2] if len(tried) > 1 else self.measure(line, 2 * first.step)
        by_step = abs(shortest.numeric - other.numeric)
        by_noise = 0.0 if kink else rough * first.step / shortest.step
        parts = (by_kinks, 10 * by_step, 10 * by_noise, 10 * shortest.rounding)
        return self.kind(shortest, max(parts) if np.isfinite(parts).all() else math.inf)


def _advice(judge: Judge, hint: str) -> str:
    """A longer step and a larger tolerance, so that rounding does not hide the gradient."""
    for longer in (text for text in ("1e-3", "1e-2", "1e-1") if float(text) > judge.h):
        try:
            other = replace(judge, h=float(longer), tolerance=float(longer), coarse=None)
            verdict = other.result()[0].verdict
        except Exception:  # the function may be undefined there
            break
        if verdict in ("ok", "zero", "FAIL"):
            found = "wrong" if verdict == "FAIL" else "right"
            return f"{hint} (with h={longer}, tolerance={longer} it is {found})"
    return hint


def _verdict(found: dict[str, list[Measured]], whole: bool) -> str:
    if found["wrong"]:
        return "FAIL"
    directions = any(m.line.element is None for m in found["seen"])
    if found["seen"] and (directions or whole) and not found["unsure"]:
        return "ok"  # the whole tensor was compared
    return "kinks" if found["kink"] and not found["unsure"] else "unseen"


def _located(result: Result, judge: Judge, line: Line) -> Result:
    """Bisect a wrong direction to an element: keep the half with the larger error."""

    def off(elements: np.ndarray) -> float:
        part = np.zeros_like(line.v)
        part.flat[elements] = line.v.flat[elements]
        return judge.measure(Line(line.subject, line.name, part), result.step).off

    candidates = np.arange(line.v.size)
    while len(candidates) > 1:
        candidates = max(np.array_split(candidates, 2), key=off)
    worst = judge.measure(Line(line.subject, line.name, candidates[0]), result.step)
    at = worst.line
    return result._replace(where=at.element, analytic=at.analytic, numeric=worst.numeric)
