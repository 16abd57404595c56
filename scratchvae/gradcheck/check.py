"""The four doors: check a pair of functions, an op, a layer, a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import ops
from ..models import Model
from ..module import Module
from ..ops import CASES
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
    """Compare the gradients of a backward with what its forward does.

    Parameters
    ----------
    forward : callable
        `forward(*inputs)` returns `y, cache` (and maybe more). A lambda binds other arguments. The
        report calls the inputs by the names of its parameters. y may be a tuple of outputs.
    backward : callable
        `backward(dy, cache)` returns one gradient per input: an array, or a tuple of them. A None
        among them is "not checked", and fails. dy is drawn at random, in the shape of y; for a
        tuple of outputs it is a tuple of arrays.
    *inputs : float64 arrays
        Away from kinks, where there are any.
    method : {"central", "direction", "complex", "adjoint"}
        See the top of this package. "complex" calls forward with complex128, "adjoint" asks for a
        linear function.
    h : float
        The step, in units of max(1, |x|) for each element; by default 1e-6, and 1e-100 for the
        complex step.
    tolerance : float
        On the error per tensor, max|analytic - numeric| / max|analytic|. By default 1e-7 for
        differences, 1e-12 for "complex" and "adjoint", 2e-5 in float32. A function that rounds
        more than float64 does needs `h=1e-3, tolerance=1e-3`.
    atol : float
        What an element may be off by in any case, beside the tolerance.
    samples : int or "all"
        Instead of every element: the one with the largest gradient, so many at random, and a
        random direction. By default every element is moved, but of an input with more than 10,000
        elements three directions and five elements, and the report says so. "all" moves every
        element, however long it takes.
    only : list of str
        The inputs to check; by default all.
    without_gradient : list of str
        The inputs that get no gradient: backward gives None for them, or leaves them out.
    without_dy : list of int
        Of a tuple of outputs those, by position, for which backward is given None instead of a
        dy, as it is for outputs that are None, or arrays of integers or booleans.
    batch : list of str
        The inputs whose first axis counts images, if no image may depend on another.
    dtype : {"float64", "float32"}
        What backward computes in. The numeric side is always float64, at the rounded inputs.
    seed : int
        Draws dy, the samples and the directions.
    raises : bool
        Whether a wrong gradient is an error.

    Returns
    -------
    Report
        A row for each input: print it.

    Raises
    ------
    GradientError
        (an AssertionError) if a gradient is wrong, or could not be shown to be right. It names the
        input and the element. Also if backward fails one of the trials of trials.py.
    NotAnalytic, NotLinear
        (ValueErrors) if the method does not apply to this forward.
    TypeError, ValueError
        If an argument, y or a gradient is not of the kind or shape described above.
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
    """Check one of our ops, on the engine in use, at each of its CASES: a report for each.

    "adjoint" checks the inputs in which the op is linear. Other options, errors: see `check`.
    """
    if name not in CASES:
        raise ValueError(f"check_op: unknown op {name!r}; there are {', '.join(CASES)}")
    reports = []
    for case in CASES[name]:
        only = [*case.linear] if method == "adjoint" else None
        if only != []:
            subject = op_subject(name, case, dtype, seed)
            reports.append(compare(subject, method, only=only, seed=seed, **options))
    return reports


def op_subject(name: str, case: Case, dtype: str = "float64", seed: int = 0) -> Subject:
    """An op at a case, with the backward of the engine in use."""
    forward, backward = getattr(ops, f"{name}_forward"), getattr(ops, f"{name}_backward")
    arrays = case.arrays(seed)
    moving = [n for n in arrays if n not in case.constants]

    def at(*values: Any) -> Any:
        return forward(**dict(zip(arrays, values, strict=True)), **case.options)

    def gradients(dy: Any, cache: Any) -> tuple[Any, ...]:
        result = backward(dy, cache)
        result = result if isinstance(result, tuple) else (result,)
        return result[: len(moving)]  # a bias that is not there has no gradient

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
    """Check the gradients of a layer's inputs and of its parameters.

    Parameters
    ----------
    layer : Module
        In float64 or float32, in the mode (training or evaluation) it is to be checked in. Copies
        are run: its parameters, gradients, statistics and cache stay as they are.
    *inputs : float64 arrays
        What its forward takes.
    without_gradient : list of str
        The inputs that get no gradient, such as the noise: `["eps"]`.
    batch, seed, **options
        See `check`, also for the report and the errors. Parameters have their names, inputs those
        of forward's parameters.
    """
    subject = of_layer(layer, inputs, seed, without_gradient, batch)
    return compare(subject, seed=seed, **options)


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
    """Check every parameter tensor of a model: the gradient of its loss, the noise frozen.

    Each is moved along a random direction (all elements at once), then its element with the largest
    gradient, then `samples` elements drawn at random. A direction that fails is bisected to an
    element. Gradients that are identically zero, such as those of a bias before a batch norm, get
    the verdict "zero": both sides are below 1e-12 of the model's largest gradient.

    Parameters
    ----------
    model : Model
        In float64 or float32, in the mode it is to be checked in. Copies are run: the model, its
        gradients, statistics and cache stay bit for bit what they are.
    x, eps : arrays of the model's dtype
        The batch and its noise: `model.noise(len(x), rng)`.
    method : {"complex", "central", "direction"}
        "complex" evaluates the loss in complex128, through the reference bodies of all ops.
        "central" sees less: the loss is a large number, and dozens of ReLUs lie within a step.
    tolerance : float
        By default 1e-10 for "complex", 1e-5 for differences. In float32 1e-2: the numeric side is
        float64, and a ReLU or a max pooling whose decision rounding turns changes a gradient by
        parts in a thousand.
    **options
        See `check`, also for the report and the errors.
    """
    if not isinstance(model, Model):
        raise TypeError(f"check_model: model must be a Model, got {type(model).__name__}")
    if method == "adjoint":
        raise ValueError("check_model: a loss is not linear; use 'complex', 'central', 'direction'")
    if tolerance is None:
        tolerance = {"complex": 1e-10}.get(method, 1e-5) if model.dtype == np.float64 else 1e-2
    subject = of_model(model, x, eps)
    return compare(subject, method, tolerance=tolerance, samples=samples, **options)
