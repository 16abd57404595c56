"""The functions to call: check a pair of functions, an op, a layer, a model."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..models import Model
from ..module import Module
from ..ops.cases import Case
from .judge import compare
from .report import Report
from .subject import Subject, of_layer, of_model, of_pair


def check(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *inputs: np.ndarray,
    method: str = "central",
    h: float | None = None,
    tolerance: float | None = None,
    atol: float = 0.0,
    samples: int | str | None = None,
    only: list[str] | None = None,
    without_gradient: Sequence[str] = (),
    without_dy: Sequence[int] = (),
    batch: Sequence[str] = (),
    dtype: str = "float64",
    seed: int = 0,
    raises: bool = True,
) -> Report:
    """Compare the gradients of a backward pass with derivatives of its forward pass.

    Parameters
    ----------
    forward : callable
        `forward(*inputs)` returns `y, cache` (and maybe more); y may be a tuple of outputs. Its
        parameter names are the names of the inputs in the report.
    backward : callable
        `backward(dy, cache)` returns a gradient for each input. None means "not checked", which is
        a failure. dy is random, of the shape of y; a tuple for a tuple of outputs.
    *inputs : float64 arrays
        Away from kinks.
    method : {"central", "direction", "complex", "adjoint"}
        See the top of this package. "complex" calls forward with complex128; "adjoint" needs a
        linear function.
    h : float
        The step, in units of max(1, |x|) for each element. Default: 1e-6; 1e-100 for "complex".
    tolerance : float
        Limit of max|analytic - numeric| / max|analytic| per tensor. Default: 1e-7 for differences,
        1e-12 for "complex" and "adjoint", 2e-5 in float32. A function that computes in less than
        float64 needs `h=1e-3, tolerance=1e-3`.
    atol : float
        Absolute error that is always allowed.
    samples : int or "all"
        Check the element with the largest gradient, this many random elements and a random
        direction. Default: every element; of an input with more than 10,000 elements, three
        directions and five elements (noted in the report). "all" checks every element of any input.
    only : list of str
        The inputs to check. Default: all.
    without_gradient : list of str
        The inputs without a gradient: backward returns None for them, or omits them.
    without_dy : list of int
        The positions in a tuple of outputs whose dy is None, as that of integers always is.
    batch : list of str
        The inputs whose first axis counts images, if images must be independent.
    dtype : {"float64", "float32"}
        The dtype of backward. The numeric side is float64, at the rounded inputs.
    seed : int
        Draws dy, the samples and the directions.
    raises : bool
        Whether a wrong gradient is an error.

    Returns
    -------
    Report
        A row for each input; `print` shows a table.

    Raises
    ------
    GradientError, an AssertionError
        If a gradient is not confirmed, or backward fails a trial of trials.py.
    NotAnalytic, NotLinear, ValueError, TypeError
        If the method does not apply to this forward, or an argument, y or a gradient does not fit.
    """
    subject = of_pair(
        forward, backward, inputs, dtype, seed,
        without_gradient=without_gradient, without_dy=without_dy, batch=batch,
    )  # fmt: skip
    return compare(subject, method, h, tolerance, atol, samples, only, seed, raises)


def check_op(
    name: str,
    method: str = "central",
    *,
    dtype: str = "float64",
    seed: int = 0,
    **options: Any,
) -> list[Report]:
    """Check one of our ops on the engine in use: a report for each of its CASES. "adjoint" checks
    only the inputs in which the op is linear. Other options and errors: see `check`."""
    if name not in ops.CASES:
        raise ValueError(f"check_op: unknown op {name!r}; choose from {', '.join(ops.CASES)}")
    reports = []
    for case in ops.CASES[name]:
        only = [*case.linear] if method == "adjoint" else None
        if only != []:
            subject = op_subject(name, case, dtype, seed)
            reports.append(compare(subject, method, only=only, seed=seed, **options))
    return reports


def op_subject(name: str, case: Case, dtype: str = "float64", seed: int = 0) -> Subject:
    """An op at a case, with the backward of the engine in use."""
    functions = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    return subject_of_case(name, case, *functions, dtype, seed)


def subject_of_case(
    name: str,
    case: Case,
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    dtype: str = "float64",
    seed: int = 0,
) -> Subject:
    """The two functions of an op, at a case."""
    arrays = case.arrays(seed)
    moving = [n for n in arrays if n not in case.constants]

    def at(*values: Any) -> Any:
        return forward(**dict(zip(arrays, values, strict=True)), **case.options)

    def gradients(dy: Any, cache: Any) -> tuple[Any, ...]:
        result = backward(dy, cache)
        result = result if isinstance(result, tuple) else (result,)
        return result[: len(moving)]  # a missing bias has no gradient

    mixes = case.mixes or any(arrays[n].ndim == 0 for n in moving)
    return of_pair(
        at, gradients, [*arrays.values()], dtype, seed,
        name=f"{name} ({case.variant})" if case.variant else name, names=[*arrays],
        without_gradient=case.constants, analytic_to=None,
        batch=[] if mixes else [n for n in moving if n not in ("w", "b")],
    )  # fmt: skip


def check_layer(
    layer: Module,
    *inputs: np.ndarray,
    without_gradient: Sequence[str] = (),
    batch: Sequence[str] = (),
    seed: int = 0,
    **options: Any,
) -> Report:
    """Check the gradients of a layer's inputs and parameters.

    The layer may be in float64 or float32, in training or evaluation mode; the check runs copies of
    it. `inputs` are the arguments of its forward, `without_gradient` names those without a
    gradient, such as the noise: `["eps"]`. Everything else is as in `check`.
    """
    return compare(of_layer(layer, inputs, seed, without_gradient, batch), seed=seed, **options)


def check_model(
    model: Model,
    x: Any,
    eps: Any,
    method: str = "complex",
    *,
    samples: int | str | None = 4,
    tolerance: float | None = None,
    **options: Any,
) -> Report:
    """Check the gradient of a model's loss in every parameter tensor, with fixed noise.

    Each tensor is moved along a random direction, then in its element with the largest gradient,
    then in `samples` random elements. A direction that fails is bisected to an element. The verdict
    "zero" means that both sides are below 1e-12 of the model's largest gradient.

    Parameters
    ----------
    model : Model
        Used as in `check_layer`.
    x, eps : arrays of the model's dtype
        The batch and its noise: `model.noise(len(x), rng)`.
    method : {"complex", "central", "direction"}
        "complex" evaluates the loss in complex128, through the reference bodies of all ops.
        "central" is less sensitive: the loss is large, and many ReLU kinks lie within a step.
    tolerance : float
        Default: 1e-10 for "complex", 1e-5 for differences, 1e-2 in float32, where rounding may flip
        a ReLU or a max pooling and change a gradient by parts in a thousand.
    samples, **options
        See `check`, also for the report and the errors.
    """
    if not isinstance(model, Model):
        raise TypeError(f"check_model: model must be a Model, got {type(model).__name__}")
    if method == "adjoint":
        raise ValueError("check_model: a loss is not linear; use 'complex', 'central', 'direction'")
    if tolerance is None:
        tolerance = {"complex": 1e-10}.get(method, 1e-5) if model.dtype == np.float64 else 1e-2
    return compare(of_model(model, x, eps), method, tolerance=tolerance, samples=samples, **options)
