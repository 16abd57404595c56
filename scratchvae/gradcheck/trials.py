"""Every backward must be linear in dy, return the same result when called again, accept any memory
layout, and keep its dtype. Differences for one dy and one call show none of these faults."""

from collections.abc import Callable, Iterator, Sequence
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
    gradients: Gradients  # for dy
    again: Callable[[], Gradients]  # a second backward with the same dy and cache
    run: Callable[..., tuple[np.ndarray, Gradients]]  # at inputs and dy, laid out by a function
    batch: Sequence[str]  # the inputs with a row for each image, if images must be independent


def faults_of(pair: Pair, tolerance: float, atol: float, seed: int) -> list[str]:
    """The faults, in sentences: wrong dtypes, and the first of the trials that fails."""
    faults = [
        f"the gradient of {n} is {g.dtype}, but {n} is {pair.inputs[n].dtype}"
        for n, g in pair.gradients.items()
        if g.dtype != pair.inputs[n].dtype
    ]
    limit = max(tolerance, FLOOR[str(pair.dy.dtype)])
    for trial in (_again, _linear, _not_contiguous, _apart):
        if fault := next(trial(pair, limit, atol, seed), None):
            return [*faults, fault]  # other trials would repeat it
    return faults


def largest(a: Any) -> float:
    return float(np.max(np.abs(a)))


def differing(expected: Gradients, got: Gradients, limit: float, atol: float) -> Iterator[str]:
    for n, g in expected.items():
        if n not in got or _off(g, got[n], limit * largest(g) + atol):
            yield n


def _off(expected: Any, got: Any, allowed: float) -> bool:
    return not largest(got - expected) <= allowed


def _again(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    try:
        again = pair.again()
    except Exception:  # a cache may work only once
        _, again = pair.run(pair.inputs, pair.dy)
    return (
        f"a second backward with the same dy and cache returns another gradient of {n}: "
        "does it keep or accumulate something between calls?"
        for n in differing(pair.gradients, again, limit, atol)
    )


def _linear(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    """Zero, large, small, and added to another."""
    rng = np.random.default_rng([seed, 6])
    signs, sizes = rng.choice([-1.0, 1.0], pair.dy.shape), rng.uniform(1, 2, pair.dy.shape)
    large = (LARGE * signs * sizes).astype(pair.dy.dtype)
    _, of_large = pair.run(pair.inputs, large)
    for a, b, what in (
        (0.0, 0.0, "a dy of zeros"),
        (0.5, -2.0, "0.5 dy1 - 2 dy2, dy2 of about a million,"),
        (1e-9, 0.0, "1e-09 dy"),
    ):
        _, got = pair.run(pair.inputs, (a * pair.dy + b * large).astype(pair.dy.dtype))
        for n, g in pair.gradients.items():
            of_b = b * of_large[n] if b else np.zeros_like(g)
            scale = abs(a) * largest(g) + largest(of_b)
            if not np.isfinite(4 * scale):
                continue  # a large gradient of a large dy overflows
            if _off(a * g + of_b, got[n], limit * scale + 4 * atol):
                yield (
                    f"backward is not linear in dy: for {what} the gradient of {n} is not the same "
                    "combination of gradients; is dy clipped, compared or a divisor?"
                )


def _not_contiguous(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    try:
        given = {n: _spread_out(x) for n, x in pair.inputs.items()}
        y, gradients = pair.run(given, pair.dy, _spread_out)
    except Exception as problem:
        yield f"non-contiguous inputs or dy raise {type(problem).__name__}: {problem}"
        return
    if y.shape != pair.y.shape or _off(pair.y, y, limit * largest(pair.y)):
        yield "for non-contiguous inputs forward returns another y"
    for n in differing(pair.gradients, gradients, limit, atol):
        yield f"for non-contiguous inputs and dy backward returns another gradient of {n}"


def _apart(pair: Pair, limit: float, atol: float, seed: int) -> Iterator[str]:
    """Replace the first image by the second: the results of the others must not change."""
    if not pair.batch:
        return
    rows = len(pair.inputs[pair.batch[0]])
    order = [1, *range(1, rows)]
    given = {n: x[order] if n in pair.batch else x for n, x in pair.inputs.items()}
    y, gradients = pair.run(given, pair.dy)
    if pair.y.size % rows:
        yield f"images are not independent: {pair.y.size} outputs for {rows} images"
        return
    others, before = (a.reshape(rows, -1)[1:] for a in (y, pair.y))
    if _off(before, others, limit * largest(pair.y)):
        yield "images are not independent: y of one image changes with another image"
    for n, g in pair.gradients.items():
        if n in pair.batch and _off(g[1:], gradients[n][1:], limit * largest(g) + atol):
            yield f"images are not independent: the gradient of {n} at one changes with another"


def _spread_out(a: np.ndarray) -> np.ndarray:
    """The same numbers, every other one in memory and the axes in reverse order."""
    if a.ndim == 0:
        return a.copy()
    buffer = np.zeros([2 * n for n in reversed(a.shape)], a.dtype)
    view = buffer[tuple(slice(None, None, 2) for _ in a.shape)].T
    view[...] = a
    return view
