"""Does a backward agree with its forward?

A backward maps dy to dx = J^T dy, the gradient of the number <y, dy>. Differences of that number
are the judge:

    central        (<y(x + h e), dy> - <y(x - h e), dy>) / 2h     any function; error about 1e-9
    complex step   Im <y(x + i h e), dy> / h, h = 1e-100          analytic functions; about 1e-15

Errors are measured per tensor, max|analytic - numeric| / max|analytic|: relative to the largest
element, because the smallest are all rounding. dy is drawn at random, never ones: with dy = 1 the
gradient of a batch norm is zero, whatever its code says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from .models import Model
from .ops import Losses


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *inputs: np.ndarray,
    h: float = 1e-6,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> list[float]:
    """Compare a backward with central differences of its forward, element by element.

    Parameters
    ----------
    forward : callable
        `forward(*inputs)` returns `y, cache` (and maybe more). A lambda binds other arguments.
    backward : callable
        `backward(dy, cache)` returns one gradient per input: an array, or a tuple of them. A None
        among them is not checked. dy is an array of y's shape.
    *inputs : float64 arrays
        Every element of each is moved by +-h: keep them small, and away from kinks.

    Returns
    -------
    list of float
        The error of each input's gradient.

    Raises
    ------
    AssertionError
        If an error exceeds `tolerance`; it names the input and its worst element.
    TypeError, ValueError
        If an input, y or a gradient is not of the kind or shape described above.
    """
    for k, x in enumerate(inputs):
        if getattr(x, "dtype", None) != np.float64:
            raise TypeError(f"check: input {k} must be a float64 array, got {_kind(x)}")
    result = forward(*inputs)
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(f"check: forward must return (y, cache), got {_kind(result)}")
    y, cache = _output(result), result[1]
    # Not default_rng(seed): whoever drew x from that would get dy = x, for which dx of a batch norm
    # is zero again.
    dy = np.asarray(np.random.default_rng([seed, 1]).standard_normal(np.shape(y)))
    gradients = backward(dy, cache)
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    if len(gradients) != len(inputs) or all(g is None for g in gradients):
        came = ", ".join(map(_kind, gradients))
        raise ValueError(
            f"check: {len(inputs)} inputs need as many gradients, backward gave {came}"
        )

    errors = []
    for k, (x, analytic) in enumerate(zip(inputs, gradients, strict=True)):
        if analytic is None:
            continue
        if np.shape(analytic) != x.shape:
            raise ValueError(
                f"check: the gradient of input {k} must have its shape {x.shape}, "
                f"got {np.shape(analytic)}"
            )

        def y_at(moved: np.ndarray, k: int = k) -> Any:
            return _output(forward(*inputs[:k], moved, *inputs[k + 1 :]))

        numeric = central_differences(y_at, x, dy, h)
        errors.append(tensor_error(analytic, numeric))
        if not errors[-1] <= tolerance:
            at = np.unravel_index(np.argmax(abs(analytic - numeric)), x.shape)
            raise AssertionError(
                f"gradient of input {k} (shape {x.shape}): error {errors[-1]:.2g} > {tolerance:g}, "
                f"worst at {tuple(map(int, at))}: backward says {np.asarray(analytic)[at]:.9g}, "
                f"differences say {numeric[at]:.9g}"
            )
    return errors


def _output(result: tuple[Any, ...]) -> Any:
    """The y of (y, cache, ...); of Losses the total, which is what their backward starts from."""
    return result[0].total if isinstance(result[0], Losses) else result[0]


def _kind(a: Any) -> str:
    """What `a` is, for a message."""
    return f"an array of {a.dtype}" if isinstance(a, np.ndarray) else type(a).__name__


def central_differences(
    f: Callable[[np.ndarray], Any], x: np.ndarray, dy: Any, h: float
) -> np.ndarray:
    """The gradient of <f(x), dy> at x, two evaluations of f per element.

    The outputs are subtracted one by one and summed then: those that do not depend on the moved
    element leave no rounding behind.
    """
    gradient = np.empty_like(x)
    for at in np.ndindex(x.shape):
        up, down = x.copy(), x.copy()
        up[at] += h
        down[at] -= h
        step = up[at] - down[at]  # the one that was really taken: x + h is rounded
        gradient[at] = np.sum((f(up) - f(down)) * dy) / step
    return gradient


def tensor_error(analytic: Any, numeric: Any) -> float:
    """max|analytic - numeric| / max|analytic|; the numerator alone where the gradient is zero.

    Infinite where either is not finite: `<=` and `max` would pass over a NaN in silence.
    """
    worst, scale = float(np.max(np.abs(analytic - numeric))), float(np.max(np.abs(analytic)))
    if not math.isfinite(worst):
        return math.inf
    return worst / scale if scale > 0 else worst


def check_model(
    model: Model, x: np.ndarray, eps: np.ndarray, samples: int = 4, seed: int = 0
) -> dict[str, float]:
    """Compare a model's backward with the complex step, for every parameter tensor.

    The loss is evaluated in complex128, through the reference bodies of all ops, with one parameter
    moved by i h: once along a random direction (all elements of the tensor at once), once for the
    element with the largest gradient, and for `samples` elements drawn at random.

    Parameters
    ----------
    model : Model
        In float64. Copies are checked; the model itself is left alone.
    x, eps : float64 arrays
        The batch and its frozen noise.

    Returns
    -------
    dict
        Parameter name -> error, relative to the largest analytic value compared. Analytic gradients
        hold to 1e-10 and better; nothing is raised. Exactly 0 where both sides are negligible, less
        than 1e-12 of the model's largest gradient: a bias before a batch norm has none.
    """
    if model.dtype != np.float64:
        raise ValueError(f"check_model: the model must be float64, got {model.dtype}")
    real, moved, rng = (
        deepcopy(model),
        deepcopy(model).to("complex128"),
        np.random.default_rng(seed),
    )
    real.zero_grad()
    real.loss(x, eps)
    real.backward()
    errors, values = {}, moved.parameters()
    negligible = 1e-12 * float(abs(real.flat_grad).max())
    for name, p in real.parameters().items():
        sides = _complex_steps(moved, values[name].value, p.grad, x, eps, samples, rng)
        zero = all((abs(side) <= negligible).all() for side in sides)  # not so if there is a NaN
        errors[name] = 0.0 if zero else tensor_error(*sides)
    return errors


def _complex_steps(
    model: Model, value: np.ndarray, gradient: np.ndarray, x: Any, eps: Any, samples: int, rng: Any
) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives of the loss along some directions of `value`: analytic, numeric."""
    elements = [int(abs(gradient).argmax()), *rng.integers(gradient.size, size=samples)]
    directions = [rng.standard_normal(gradient.shape)]
    for element in elements:
        directions.append(np.zeros(gradient.shape))
        directions[-1].flat[element] = 1.0
    analytic = np.array([np.sum(gradient * direction) for direction in directions])
    numeric = np.empty(len(directions))
    for i, direction in enumerate(directions):
        value.imag = 1e-100 * direction
        numeric[i] = model.loss(x, eps, keep=False).total.imag / 1e-100
        value.imag = 0
    return analytic, numeric
