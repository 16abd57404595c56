"""Every backward must be linear in dy, return the same result when called again, accept any memory
layout, and keep its dtype. Differences for one dy and one call show none of these faults."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

LARGE = 1e6  # a dy beyond any clipping
FLOOR = {"float64": 1e-9, "float32": 1e-3}  # for sums in another order, and cancellation in them

Gradients = dict[str, np.ndarray]


class Pair(NamedTuple):
    """A forward and its backward, on NumPy arrays."""

    inputs: dict[str, np.ndarray]  # in the dtype that backward runs in
    y: np.ndarray  # several outputs in a row
    dy: np.ndarray
    cache: Any  # used once
    gradients: Gradients  # for dy
    forward: Callable[[dict[str, np.ndarray]], tuple[np.ndarray, Any]]
    backward: Callable[[np.ndarray, Any, Callable[[np.ndarray], np.ndarray]], Gradients]
    spread: tuple[str, ...]  # the inputs that may have any memory layout
    batch: tuple[str, ...]  # the inputs with a row for each image, if images must be independent


def faults_of(pair: Pair, tolerance: float, atol: float, seed: int) -> list[str]:
    """The faults, in sentences: wrong dtypes, and the first of the trials that fails."""
    faults = [
        f"the gradient of {n} is {g.dtype}, but {n} is {pair.inputs[n].dtype}"
        for n, g in pair.gradients.items()
        if g.dtype != pair.inputs[n].dtype
    ]
    limit = max(tolerance, FLOOR[str(next(iter(pair.inputs.values())).dtype)])
    with np.errstate(all="ignore"):
        for trial in (_again, _linear, _not_contiguous, _apart):
            if fault := next(trial(pair, limit, atol, seed), None):
                return [*faults, fault]  # other trials would repeat it
    return faults


def _run(pair: Pair, dy: np.ndarray) -> Gradients:
    """The gradients for another dy, after a new forward."""
    return pair.backward(dy, pair.forward(pair.inputs)[1], np.copy)


def _off(expected: Any, got: Any, allowed: float) -> bool:
    return not np.max(np.abs(got - expected)) <= allowed


def _largest(a: np.ndarray) -> float:
    return float(np.max(np.abs(a)))


def _again(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    try:
        again = pair.backward(pair.dy, pair.cache, np.copy)
    except Exception:  # a cache may work only once
        again = _run(pair, pair.dy)
    for n, g in pair.gradients.items():
        if n not in again or _off(g, again[n], limit * _largest(g) + atol):
            yield (
                f"a second backward with the same dy and cache returns another gradient of {n}: "
                "does it keep or accumulate something between calls?"
            )


def _linear(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    """Zero, large, small, and added to another."""
    rng = np.random.default_rng([seed, 6])
    signs, sizes = rng.choice([-1.0, 1.0], pair.dy.shape), rng.uniform(1, 2, pair.dy.shape)
    large = (LARGE * signs * sizes).astype(pair.dy.dtype)
    of_large = _run(pair, large)
    for a, b, what in (
        (0.0, 0.0, "a dy of zeros"),
        (0.5, -2.0, "0.5 dy1 - 2 dy2, dy2 of about a million,"),
        (1e-9, 0.0, "1e-09 dy"),
    ):
        got = _run(pair, (a * pair.dy + b * large).astype(pair.dy.dtype))
        for n, g in pair.gradients.items():
            of_b = b * of_large[n] if b else np.zeros_like(g)
            scale = abs(a) * _largest(g) + _largest(of_b)
            if not np.isfinite(4 * scale):
                continue  # a large gradient of a large dy overflows
            if _off(a * g + of_b, got[n], limit * scale + 4 * atol):
                yield (
                    f"backward is not linear in dy: for {what} the gradient of {n} is not the same "
                    "combination of gradients; is dy clipped, compared or a divisor?"
                )


def _not_contiguous(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    given = {n: _spread_out(x) if n in pair.spread else x for n, x in pair.inputs.items()}
    try:
        y, cache = pair.forward(given)
        gradients = pair.backward(pair.dy, cache, _spread_out)
    except Exception as problem:
        yield f"non-contiguous inputs or dy raise {type(problem).__name__}: {problem}"
        return
    if y.shape != pair.y.shape or _off(pair.y, y, limit * _largest(pair.y)):
        yield "for non-contiguous inputs forward returns another y"
    for n, g in pair.gradients.items():
        if _off(g, gradients[n], limit * _largest(g) + atol):
            yield f"for non-contiguous inputs and dy backward returns another gradient of {n}"


def _apart(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    """Replace the first image by the second: the results of the others must not change."""
    if not pair.batch:
        return
    given = {n: x.copy() for n, x in pair.inputs.items()}
    for n in pair.batch:
        given[n][0] = given[n][1]
    y, cache = pair.forward(given)
    rows = len(given[pair.batch[0]])
    if pair.y.size % rows:
        yield f"images are not independent: {pair.y.size} outputs for {rows} images"
        return
    others, before = (a.reshape(rows, -1)[1:] for a in (y, pair.y))
    if _off(before, others, limit * _largest(pair.y)):
        yield "images are not independent: y of one image changes with another image"
    gradients = pair.backward(pair.dy, cache, np.copy)
    for n, g in pair.gradients.items():
        if n in pair.batch and _off(g[1:], gradients[n][1:], limit * _largest(g) + atol):
            yield f"images are not independent: the gradient of {n} at one changes with another"


def _spread_out(a: np.ndarray) -> np.ndarray:
    """The same numbers, every other one in memory and the axes in reverse order."""
    if a.ndim == 0:
        return a.copy()
    buffer = np.zeros([2 * n for n in reversed(a.shape)], a.dtype)
    view = buffer[tuple(slice(None, None, 2) for _ in a.shape)].T
    view[...] = a
    return view
