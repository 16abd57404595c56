"""What can be checked: a pair of functions, a layer, a model, all seen in the same way.

A Subject has tensors that can be moved, the gradients its backward gives for some dy, and the
output at other values of one of the tensors. The methods in compare.py know nothing more.

Functions under test are not trusted: they get copies, and what they return is copied. A forward
that changes its input, or one that draws noise, is refused: its differences would mean nothing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module, asarray, asnumpy
from ..models import MODELS, Model
from ..module import Module, Param
from .arguments import (
    check_inputs,
    check_unchanged,
    counted,
    kind_of,
    names_of,
    output_of,
    title_of,
)


class Subject(NamedTuple):
    """Everything as NumPy arrays of float64; the output is a number or an array of them."""

    name: str
    tensors: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]  # what backward says, for dy
    output: Callable[[str, np.ndarray], np.ndarray]  # with this tensor at this value, maybe complex
    y: np.ndarray  # the output where nothing is moved
    dy: np.ndarray
    dtype: str  # backward ran in this one
    analytic_to: float | None = 1e-6  # how far the complex step is tested; None: known to be right
    negligible: float = 1e-13  # what counts as zero, relative to the largest gradient
    known: bool = False  # one of our models: computed in float64 throughout


def _subject(
    name: str,
    tensors: dict[str, np.ndarray],
    gradients: dict[str, Any],
    raw_output: Callable[[str | None, Any], Any],
    dy: Any,
    dtype: Any,
    analytic_to: float | None = 1e-6,
) -> Subject:
    """The subject, after a look at what it consists of."""
    y = np.array(raw_output(None, None))
    if y.dtype != np.float64:
        raise TypeError(f"check: {name} must give float64 for float64, got y of {y.dtype}")
    if not np.isfinite(y).all():
        raise ValueError(f"check: {name} gives y with NaN or infinity: choose other inputs")
    if not np.array_equal(y, raw_output(None, None)):
        raise ValueError(
            f"check: {name} gives another y each time: draw its noise before, and hand it in"
        )

    def output(moving: str, value: np.ndarray) -> np.ndarray:
        moved_y = np.array(raw_output(moving, value))
        if moved_y.shape != y.shape:
            raise ValueError(f"check: the shape of y changes with {moving}: {moved_y.shape}")
        return moved_y

    for tensor, g in gradients.items():
        gradients[tensor] = g = np.array(asnumpy(g))
        expected = tensors[tensor].shape
        if g.shape != expected or g.dtype.kind not in "fiu":
            fits = " (its transpose would fit)" if g.shape[::-1] == expected != g.shape else ""
            raise ValueError(
                f"check: the gradient of {tensor} must have its shape {expected} and real numbers, "
                f"got {g.shape} of {g.dtype}{fits}"
            )
    real = {tensor: g.astype("float64") for tensor, g in gradients.items()}
    dtype = str(np.dtype(dtype))
    return Subject(
        name, tensors, real, output, y, asnumpy(dy).astype("float64"), dtype, analytic_to
    )


def of_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    dtype: str = "float64",
    seed: int = 0,
    name: str | None = None,
    names: Sequence[str] | None = None,
    analytic_to: float | None = 1e-6,
) -> Subject:
    """`forward(*inputs)` returns y, cache; `backward(dy, cache)` a gradient for each input."""
    check_inputs("check", inputs, dtype)
    names = names or names_of(forward, len(inputs))
    name = name or title_of(forward)
    # rounded to the dtype that backward sees
    tensors = {n: x.astype(dtype).astype("float64") for n, x in zip(names, inputs, strict=True)}
    given = [x.astype(dtype) for x in tensors.values()]
    arrays = [asarray(x.copy()) for x in given]
    result = forward(*arrays)
    for n, before, after in zip(names, given, arrays, strict=True):
        check_unchanged(f"{name} changes its input {n}", before, after)
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(f"check: forward must return (y, cache), got {kind_of(result)}")
    y, cache = np.asarray(asnumpy(output_of(result))), result[1]
    if y.dtype.kind != "f" or y.size == 0:
        raise TypeError(f"check: {name} must give y of floats, got {y.dtype} of shape {y.shape}")
    dy = random_dy(y, dtype, seed)
    given_dy = asarray(dy.copy())
    gradients = backward(given_dy, cache)
    check_unchanged("backward changes dy", dy, given_dy)
    for n, before, after in zip(names, given, arrays, strict=True):
        check_unchanged(f"backward changes the input {n}", before, after)
    gradients = counted("check", gradients, names)

    def raw_output(moving: str | None, value: Any) -> Any:
        values = [asarray((value if n == moving else x).copy()) for n, x in tensors.items()]
        return asnumpy(output_of(forward(*values)))

    return _subject(name, tensors, gradients, raw_output, dy, dtype, analytic_to)


def of_layer(
    layer: Module, inputs: Sequence[np.ndarray], seed: int = 0, constants: Sequence[str] = ()
) -> Subject:
    """Inputs and parameters of a layer, in the mode and dtype it has. Only copies are run.

    Its backward gives a gradient for each input but the `constants`.
    """
    if not isinstance(layer, Module):
        raise TypeError(f"check_layer: layer must be a Module, got {type(layer).__name__}")
    if isinstance(layer, Model):
        raise TypeError("check_layer: a model has a loss of its own; use check_model")
    name, parameters = type(layer).__name__, _distinct(layer)
    dtype = next((str(p.value.dtype) for p in parameters.values()), "float64")
    check_inputs("check_layer", inputs, dtype)
    accepted = [p for p in inspect.signature(_forward(layer)).parameters if p != "keep"]
    if len(accepted) != len(inputs):
        raise TypeError(
            f"check_layer: {name}.forward takes {', '.join(accepted)}; got {len(inputs)} inputs"
        )
    names = [f"{n} (input)" if n in parameters else n for n in accepted]
    if unknown := [n for n in constants if n not in names]:
        raise ValueError(f"check_layer: no input is called {', '.join(unknown)}; they are {names}")
    differentiated = [n for n in names if n not in constants]

    def forward(*values: Any) -> tuple[Any, Module]:
        """A copy of the layer at these inputs and parameters; the copy is its own cache."""
        given, weights = values[: len(names)], values[len(names) :]
        run = deepcopy(layer)
        for p, value in zip(_distinct(run).values(), weights, strict=True):
            xp = array_module(value)
            p.move_into(xp.empty_like(value), xp.zeros_like(value))
            p.value = value
        common = np.result_type(*(value.dtype for value in values))  # complex if one of them is
        for module in run.modules():
            for n in module.buffers:
                if (buffer := getattr(module, n)).dtype.kind == "f":
                    setattr(module, n, buffer.astype(common))
        run.zero_grad()
        return _forward(run)(*given), run

    def backward(dy: Any, run: Any) -> tuple[Any, ...]:
        dx = counted("check_layer", run.backward(dy), differentiated)
        return *map(dx.get, names), *(p.grad for p in _distinct(run).values())

    values = [*inputs, *(asnumpy(p.value).astype("float64") for p in parameters.values())]
    return of_pair(forward, backward, values, dtype, seed, name, [*names, *parameters])


def of_model(model: Model, x: Any, eps: Any) -> Subject:
    """All parameters of a model; y is its loss at x with the noise eps. Only copies are run."""
    real = deepcopy(model)
    real.zero_grad()
    real.loss(asarray(x).copy(), asarray(eps).copy())
    real.backward()
    gradients = {name: p.grad for name, p in real.parameters().items()}
    x, eps = (asnumpy(a).astype("float64") for a in (x, eps))
    copies = {kind: deepcopy(model).to(kind) for kind in ("float64", "complex128")}
    tensors = {n: asnumpy(p.value).copy() for n, p in copies["float64"].parameters().items()}

    def raw_output(moving: str | None, value: Any) -> Any:
        copy = copies["float64" if moving is None else str(value.dtype)]
        parameter = copy.parameters()[moving or next(iter(tensors))]
        if moving is not None:
            parameter.value = asarray(value)
        try:
            return asnumpy(copy.loss(asarray(x.copy()), asarray(eps.copy()), keep=False).total)
        finally:
            if moving is not None:
                parameter.value = asarray(tensors[moving])

    name, dy = type(model).__name__, np.float64(1)
    ours = type(model) in MODELS.values()  # their bodies are analytic, tests/ops/test_dtypes.py
    analytic_to = None if ours else 0.01
    subject = _subject(name, tensors, gradients, raw_output, dy, model.dtype, analytic_to)
    return subject._replace(negligible=1e-12, known=ours)  # sums over pixels leave more rounding


def random_dy(y: Any, dtype: Any, seed: int) -> np.ndarray:
    """Never ones: for dy = 1 the gradient of a batch norm is zero, whatever its code says.

    And not from default_rng(seed): whoever drew x from that would get dy = x, for which it is zero
    again.
    """
    dy = np.random.default_rng([seed, 1]).standard_normal(np.shape(y))
    return np.asarray(dy).astype(dtype)


def _distinct(layer: Module) -> dict[str, Param]:
    """The parameters; one that has two names (tied weights) under the first."""
    by_identity: dict[int, tuple[str, Param]] = {}
    for name, p in layer.parameters().items():
        by_identity.setdefault(id(p), (name, p))
    return dict(by_identity.values())


def _forward(layer: Module) -> Callable[..., Any]:
    return layer.forward  # type: ignore[attr-defined]
