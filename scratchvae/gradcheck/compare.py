"""All tensors of a subject before the judge, along lines chosen by the method."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .differences import Line, require_analytic, require_linear, size
from .judge import judge, located
from .report import METHODS, Report, Result, not_checked
from .rounding import own_rounding, require_precise, rounding_of_zeros
from .subject import Subject

STEP = {"central": 1e-6, "direction": 1e-6, "complex": 1e-100, "adjoint": 1.0}
LIMIT = {"central": 1e-7, "direction": 1e-7, "complex": 1e-12, "adjoint": 1e-12}
FLOAT32_LIMIT = 2e-5
DIRECTIONS = 3
PATIENCE = 60.0  # seconds for every element of one tensor; beyond, samples are taken
SAMPLES = 4
BISECTED = 3  # directions at most: one mistake may make fifty tensors wrong


def compare(
    subject: Subject,
    method: str = "central",
    *,
    h: float | None = None,
    tolerance: float | None = None,
    atol: float = 0.0,
    samples: int | str | None = None,
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
    if not (isinstance(atol, int | float | np.floating) and 0 <= atol < math.inf):
        raise ValueError(f"check: atol must be a number of at least 0, got {atol!r}")
    number = isinstance(samples, int | np.integer) and samples >= 0
    if not (number or samples is None or samples == "all"):
        raise ValueError(
            f"check: samples must be None or an int of at least 0, got {samples!r}; 'all' takes "
            "every element, however long it takes"
        )
    known = [n for n in subject.tensors if n in subject.gradients or n in subject.missing]
    names = known if only is None else [only] if isinstance(only, str) else [*only]
    unknown = [str(name) for name in names if name not in known]
    if unknown or not names:
        raise ValueError(
            f"check: {subject.name} has no gradient of {', '.join(unknown) or 'nothing'}; there "
            f"are those of {', '.join(known) or 'nothing'}"
        )
    each = (float(np.max(np.abs(g))) for g in subject.gradients.values())
    largest = max(filter(math.isfinite, each), default=0.0)
    rng = np.random.default_rng([seed, 3])
    results, directions, notes = [], {}, [*subject.notes]
    for name in names:
        if name in subject.missing:
            results.append(not_checked(name, subject.tensors[name].shape, tolerance))
            continue
        sampled, note = _affordable(subject, name, method, samples)
        notes += note
        if method == "complex":
            require_analytic(subject, name, rng)
            require_precise(subject, name, _direction(subject.tensors[name], rng))
        if method == "adjoint":
            require_linear(subject, name, rng)
        lines = _lines(subject, name, method, sampled, rng, DIRECTIONS if note else 1)
        judged = partial(_judged, subject, name, method, lines, atol, largest, rng)
        result, directions[name] = judged(h, tolerance)
        if result.verdict == "unseen" and method in ("central", "direction") and not subject.known:
            result = result._replace(hint=_advice(h, judged))
        results.append(result)
    blurred = [r for r in results if r.verdict == "FAIL" and r.where is None]
    for result in sorted(blurred, key=lambda r: -r.error)[:BISECTED]:
        where = results.index(result)
        results[where] = located(subject, result, method, directions[result.tensor])
    return Report(subject.name, method, results, subject.trials(tolerance, atol), notes)


def _judged(
    subject: Subject,
    name: str,
    method: str,
    lines: Sequence[Line],
    atol: float,
    largest: float,
    rng: np.random.Generator,
    h: float,
    tolerance: float,
) -> tuple[Result, Line]:
    """By differences only after a look at the function's own rounding."""
    coarse = 0.0
    if method in ("central", "direction") and not subject.known:
        coarse = _coarse(subject, name, lines, h, tolerance, rng)
    return judge(subject, name, method, lines, h, tolerance, atol, largest, coarse)


def _advice(h: float, judged: Callable[[float, float], tuple[Result, Line]]) -> str:
    """A longer step and a larger tolerance with which rounding does not hide the gradient."""
    hidden = "rounding or kinks hide the rest: try another h, or method='complex'"
    for longer in ("1e-3", "1e-2", "1e-1"):
        if float(longer) <= h:
            continue
        try:
            with np.errstate(all="ignore"):
                verdict = judged(float(longer), float(longer))[0].verdict
        except Exception:  # so far away the function may have no value
            break
        if verdict in ("ok", "zero", "FAIL"):
            says = "wrong" if verdict == "FAIL" else "right"
            return f"{hidden} (with h={longer}, tolerance={longer} it is {says})"
    return hidden


def _affordable(
    subject: Subject, name: str, method: str, samples: int | str | None
) -> tuple[int | None, list[str]]:
    """How many samples: None for every element, unless that takes too long; a note says so then."""
    if samples is not None:
        return (None, []) if samples == "all" else (int(samples), [])
    count = subject.tensors[name].size
    seconds = count * subject.seconds * (1 if method == "complex" else 2)
    if method not in ("central", "complex") or seconds <= PATIENCE:
        return None, []
    long = f"{seconds / 3600:.1f} hours" if seconds > 3600 else f"{seconds / 60:.1f} minutes"
    return SAMPLES, [
        f"{name}: its {count:,} elements would take about {long}: {DIRECTIONS} random directions "
        f"and {SAMPLES + 1} elements are checked instead (samples='all' takes every element)"
    ]


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
    return along_v or rounding_of_zeros(subject, name, rng)


def _lines(
    subject: Subject,
    name: str,
    method: str,
    samples: int | None,
    rng: np.random.Generator,
    directions: int = 1,
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
    return [*(direction() for _ in range(directions)), *(tuple(map(int, at)) for at in elements)]
