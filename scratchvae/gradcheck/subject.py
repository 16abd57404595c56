"""What can be checked: a pair of functions, a layer, a model, all seen in the same way.

A Subject has tensors that can be moved, the gradients its backward gives for some dy, and the
output at other values of one of the tensors. The methods in compare.py know nothing more.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

import numpy as np

from ..backend import asarray, asnumpy
from ..models import Model
from ..module import Module
from ..ops import Losses


class Subject(NamedTuple):
    """Everything as NumPy arrays; the output is a number or an array of them."""

    name: str
    tensors: dict[str, np.ndarray]  # float64
    gradients: dict[str, np.ndarray]  # what backward says, for dy
    output: Callable[[str, np.ndarray], Any]  # with this tensor at this value, real or complex
    y: Any  # the output where nothing is moved
    dy: Any
    dtype: np.dtype  # backward ran in this one
    complex_safe: bool  # known to be: else the complex step is tested before it is trusted


def random_dy(y: Any, dtype: Any, seed: int) -> np.ndarray:
    """Never ones: for dy = 1 the gradient of a batch norm is zero, whatever its code says.

    And not from default_rng(seed): whoever drew x from that would get dy = x, for which it is zero
    again.
    """
    dy = np.random.default_rng([seed, 1]).standard_normal(np.shape(y))
    return np.asarray(dy).astype(dtype)


def of_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    dtype: str = "float64",
    seed: int = 0,
    name: str | None = None,
    names: Sequence[str] | None = None,
    complex_safe: bool = False,
) -> Subject:
    """`forward(*inputs)` returns y, cache; `backward(dy, cache)` a gradient for each input."""
    for k, x in enumerate(inputs):
        if not isinstance(x, np.ndarray) or x.dtype != np.float64:
            raise TypeError(f"check: input {k} must be a float64 array, got {_kind(x)}")
    names = names or _names(forward, len(inputs))
    result = forward(*(asarray(x.astype(dtype)) for x in inputs))
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(f"check: forward must return (y, cache), got {_kind(result)}")
    y, cache = _output(result), result[1]
    dy = random_dy(y, dtype, seed)
    gradients = backward(asarray(dy), cache)
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    if len(gradients) != len(inputs) or all(g is None for g in gradients):
        came = ", ".join(map(_kind, gradients))
        raise ValueError(
            f"check: {len(inputs)} inputs ({', '.join(names)}) need as many gradients, "
            f"backward gave {came}"
        )
    # rounded to the dtype that backward has seen
    tensors = {n: x.astype(dtype).astype("float64") for n, x in zip(names, inputs, strict=True)}

    def output(moving: str, value: np.ndarray) -> Any:
        values = [asarray(value if n == moving else x) for n, x in tensors.items()]
        return asnumpy(_output(forward(*values)))

    return Subject(
        name or _title(forward),
        tensors,
        _checked(tensors, {n: g for n, g in zip(names, gradients, strict=True) if g is not None}),
        output,
        asnumpy(_output(forward(*(asarray(x) for x in tensors.values())))),
        dy.astype("float64"),
        np.dtype(dtype),
        complex_safe,
    )


def of_layer(layer: Module, inputs: Sequence[np.ndarray], seed: int = 0) -> Subject:
    """Inputs and parameters of a layer, in the mode and dtype it has. Only copies are run."""
    parameters = layer.parameters()
    dtype = next((p.value.dtype for p in parameters.values()), np.dtype("float64"))
    accepted = [p for p in inspect.signature(_forward(layer)).parameters if p != "keep"]
    if len(accepted) != len(inputs):
        raise TypeError(
            f"check_layer: {type(layer).__name__}.forward takes {', '.join(accepted)}; "
            f"got {len(inputs)} inputs"
        )
    copy = deepcopy(layer)
    copy.zero_grad()
    y = _forward(copy)(*(asarray(x.astype(dtype)) for x in inputs))
    dy = random_dy(y, dtype, seed)
    dx = copy.backward(asarray(dy))  # type: ignore[attr-defined]
    dx = dx if isinstance(dx, tuple) else (dx,)
    moved_inputs = dict(zip(accepted, inputs, strict=True))
    gradients = {n: g for n, g in zip(accepted, dx, strict=False) if g is not None}
    gradients |= {name: p.grad for name, p in copy.parameters().items()}
    tensors = {n: x.astype(dtype).astype("float64") for n, x in moved_inputs.items()}
    tensors |= {n: asnumpy(p.value).astype("float64") for n, p in parameters.items()}

    def output(moving: str | None, value: Any) -> Any:
        values = {n: value if n == moving else x for n, x in tensors.items()}
        run = deepcopy(layer)
        for n, p in run.parameters().items():  # each in an array of the dtype it is to have
            p.move_into(*(asarray(np.empty_like(values[n])) for _ in ("value", "grad")))
            p.value = asarray(values[n])
        for module in run.modules():
            for n in module.buffers:
                if (buffer := getattr(module, n)).dtype.kind == "f":
                    setattr(module, n, buffer.astype("float64"))
        return asnumpy(_forward(run)(*(asarray(values[n]) for n in accepted), keep=False))

    return Subject(
        type(layer).__name__,
        tensors,
        _checked(tensors, gradients),
        output,
        output(None, None),
        dy.astype("float64"),
        dtype,
        complex_safe=False,
    )


def of_model(model: Model, x: Any, eps: Any) -> Subject:
    """All parameters of a model; y is its loss at x with the noise eps. Only copies are run."""
    real = deepcopy(model)
    real.zero_grad()
    real.loss(asarray(x), asarray(eps))
    real.backward()
    gradients = {name: p.grad for name, p in real.parameters().items()}
    x, eps = (asnumpy(a).astype("float64") for a in (x, eps))
    copies = {kind: deepcopy(model).to(kind) for kind in ("float64", "complex128")}
    tensors = {n: asnumpy(p.value).copy() for n, p in copies["float64"].parameters().items()}

    def output(moving: str, value: np.ndarray) -> Any:
        copy = copies[str(value.dtype)]
        parameter = copy.parameters()[moving]
        parameter.value = asarray(value)
        try:
            return asnumpy(copy.loss(asarray(x), asarray(eps), keep=False).total)
        finally:
            parameter.value = asarray(tensors[moving])

    first = next(iter(tensors))
    return Subject(
        type(model).__name__,
        tensors,
        _checked(tensors, gradients),
        output,
        output(first, tensors[first]),
        np.float64(1),
        model.dtype,
        complex_safe=True,
    )


def _forward(layer: Module) -> Callable[..., Any]:
    return layer.forward  # type: ignore[attr-defined]


def _checked(tensors: dict[str, np.ndarray], gradients: dict[str, Any]) -> dict[str, np.ndarray]:
    """The gradients as float64 arrays, each of its tensor's shape."""
    for name, g in gradients.items():
        shape, expected = np.shape(g), tensors[name].shape
        if shape != expected:
            transposed = " (its transpose would fit)" if shape[::-1] == expected else ""
            raise ValueError(
                f"check: the gradient of {name} must have its shape {expected}, got "
                f"{shape}{transposed}"
            )
    return {name: np.asarray(asnumpy(g), "float64") for name, g in gradients.items()}


def _names(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of forward's parameters, where it has one for each input."""
    try:
        parameters = [*inspect.signature(forward).parameters.values()][:count]
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = []
    if len(parameters) < count or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return [f"input {k}" for k in range(count)]
    return [p.name for p in parameters]


def _title(forward: Callable[..., Any]) -> str:
    name = getattr(forward, "__name__", "")
    return name.removesuffix("_forward") if name.isidentifier() else "forward"


def _output(result: tuple[Any, ...]) -> Any:
    """The y of (y, cache, ...); of Losses the total, which is what their backward starts from."""
    return result[0].total if isinstance(result[0], Losses) else result[0]


def _kind(a: Any) -> str:
    """What `a` is, for a message."""
    return f"an array of {a.dtype}" if isinstance(a, np.ndarray) else type(a).__name__
