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
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module, asarray, asnumpy
from ..models import MODELS, Model
from ..module import Module, Param
from .arguments import (
    Outputs,
    check_inputs,
    check_names,
    check_unchanged,
    checked_gradient,
    counted,
    kind_of,
    names_of,
    output_of,
    title_of,
)
from .trials import FLOOR, TOO_LARGE, Pair, faults_of, is_large


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
    missing: tuple[str, ...] = ()  # the tensors for which backward gave None
    trials: Callable[[float, float], list[str]] = lambda tolerance, atol: []  # see trials.py
    seconds: float = 0.0  # an evaluation of the output takes about so long
    notes: tuple[str, ...] = ()  # what is left out to save time


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
    began = perf_counter()
    again = raw_output(None, None)
    seconds = perf_counter() - began
    if not np.array_equal(y, again):
        raise ValueError(
            f"check: {name} gives another y each time: draw its noise before, and hand it in"
        )

    def output(moving: str, value: np.ndarray) -> np.ndarray:
        moved_y = np.array(raw_output(moving, value))
        if moved_y.shape != y.shape:
            raise ValueError(f"check: the shape of y changes with {moving}: {moved_y.shape}")
        return moved_y

    real = {
        tensor: checked_gradient(tensor, g, tensors[tensor].shape).astype("float64")
        for tensor, g in gradients.items()
    }
    dtype = str(np.dtype(dtype))
    dy = asnumpy(dy).astype("float64")
    return Subject(name, tensors, real, output, y, dy, dtype, analytic_to, seconds=seconds)


def of_pair(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    inputs: Sequence[np.ndarray],
    dtype: str = "float64",
    seed: int = 0,
    name: str | None = None,
    names: Sequence[str] | None = None,
    analytic_to: float | None = 1e-6,
    without_gradient: Sequence[str] = (),
    without_dy: Sequence[int] = (),
    batch: Sequence[str] = (),
    spread: Sequence[str] | None = None,
) -> Subject:
    """`forward(*inputs)` returns y, cache; `backward(dy, cache)` a gradient for each input."""
    inputs = check_inputs("check", inputs, dtype)
    without_dy = [without_dy] if isinstance(without_dy, int) else without_dy
    names = names or names_of(forward, len(inputs))
    check_names("check", names, without_gradient=without_gradient, batch=batch)
    name = name or title_of(forward)
    # rounded to the dtype that backward sees
    tensors = {n: x.astype(dtype).astype("float64") for n, x in zip(names, inputs, strict=True)}
    given = {n: x.astype(dtype) for n, x in tensors.items()}
    arrays = {n: asarray(x.copy()) for n, x in given.items()}
    result = forward(*arrays.values())
    for n, before in given.items():
        check_unchanged(f"{name} changes its input {n}", before, arrays[n])
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(f"check: forward must return (y, cache), got {kind_of(result)}")
    outputs = Outputs(name, output_of(result), without_dy)
    y, cache = outputs.joined(output_of(result)), result[1]
    dy = random_dy(y, dtype, seed)

    def run_backward(
        dy: np.ndarray, cache: Any, lay_out: Callable[[np.ndarray], np.ndarray] = np.copy
    ) -> dict[str, np.ndarray]:
        """Copies of the gradients; dy stays as it is, or this is refused."""
        parts = outputs.parts(dy)
        given_parts = [p if p is None else asarray(lay_out(p)) for p in parts]
        came = backward(tuple(given_parts) if outputs.several else given_parts[0], cache)
        for before, after in zip(parts, given_parts, strict=True):
            if before is not None:
                check_unchanged("backward changes dy", before, after)
        gradients = counted("check", came, names, without_gradient)
        return {n: checked_gradient(n, g, given[n].shape) for n, g in gradients.items()}

    gradients = run_backward(dy, cache)
    for n, before in given.items():
        check_unchanged(f"backward changes the input {n}", before, arrays[n])

    def run_forward(values: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
        y, cache, *_ = forward(*(asarray(v) for v in values.values()))
        return outputs.joined(output_of((y,))), cache

    def raw_output(moving: str | None, value: Any) -> Any:
        values = [asarray((value if n == moving else x).copy()) for n, x in tensors.items()]
        return outputs.joined(output_of(forward(*values)))

    def copied(values: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
        return run_forward({n: v.copy() if v.flags.c_contiguous else v for n, v in values.items()})

    subject = _subject(name, tensors, dict(gradients), raw_output, dy, dtype, analytic_to)
    spread = tuple(names if spread is None else spread)
    pair = Pair(given, y, dy, cache, gradients, copied, run_backward, spread, tuple(batch))
    return subject._replace(
        missing=tuple(n for n in names if n not in {*gradients, *without_gradient}),
        trials=lambda tolerance, atol: faults_of(pair, tolerance, atol, seed),
        notes=(TOO_LARGE,) if is_large(pair) else (),
    )


def of_layer(
    layer: Module,
    inputs: Sequence[np.ndarray],
    seed: int = 0,
    without_gradient: Sequence[str] = (),
    batch: Sequence[str] = (),
) -> Subject:
    """Inputs and parameters of a layer, in the mode and dtype it has. Only copies are run.

    Its backward gives a gradient for each input but those `without_gradient`.
    """
    if not isinstance(layer, Module):
        raise TypeError(f"check_layer: layer must be a Module, got {type(layer).__name__}")
    if isinstance(layer, Model):
        raise TypeError("check_layer: a model has a loss of its own; use check_model")
    name, parameters = type(layer).__name__, _distinct(layer)
    dtype = next((str(p.value.dtype) for p in parameters.values()), "float64")
    inputs = check_inputs("check_layer", inputs, dtype)
    accepted = [p for p in inspect.signature(_forward(layer)).parameters if p != "keep"]
    if len(accepted) != len(inputs):
        raise TypeError(
            f"check_layer: {name}.forward takes {', '.join(accepted)}; got {len(inputs)} inputs"
        )
    names = [f"{n} (input)" if n in parameters else n for n in accepted]
    check_names("check_layer", names, without_gradient=without_gradient, batch=batch)

    def forward(*values: Any) -> tuple[Any, tuple[Any, ...]]:
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
        return _forward(run)(*given), (run, given, [])

    def backward(dy: Any, cache: Any) -> tuple[Any, ...]:
        """What it hands on, and what it adds to the gradients of its parameters. A layer's cache
        serves one backward: before the next it needs another forward."""
        run, given, calls = cache
        if calls:
            _forward(run)(*given)
        calls.append(dy)
        before = [p.grad.copy() for p in _distinct(run).values()]
        dx = counted("check_layer", run.backward(dy), names, without_gradient)
        added = (p.grad - b for p, b in zip(_distinct(run).values(), before, strict=True))
        return *map(dx.get, names), *added

    values = [*inputs, *(asnumpy(p.value).astype("float64") for p in parameters.values())]
    return of_pair(
        forward, backward, values, dtype, seed, name, [*names, *parameters],
        without_gradient=without_gradient, batch=batch, spread=names,
    )  # fmt: skip


def of_model(model: Model, x: Any, eps: Any) -> Subject:
    """All parameters of a model; y is its loss at x with the noise eps. Only copies are run."""
    real = deepcopy(model)
    real.zero_grad()

    def step() -> dict[str, np.ndarray]:
        real.loss(asarray(x_given).copy(), asarray(eps_given).copy())
        real.backward()
        return {name: np.array(asnumpy(p.grad)) for name, p in real.parameters().items()}

    x_given, eps_given = x, eps
    gradients = step()

    def trials(tolerance: float, atol: float) -> list[str]:
        """Backward adds: after another loss the gradients are twice what they were."""
        limit = max(tolerance, FLOOR[str(real.dtype)])
        twice = step()
        return [
            f"after a second loss and backward, the gradient of {n} is not twice what it was after "
            "the first: backward must add to it"
            for n, g in gradients.items()
            if not np.max(np.abs(twice[n] - 2 * g)) <= limit * np.max(np.abs(g)) + atol
        ][:1]

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
    # sums over many pixels leave more rounding
    return subject._replace(negligible=1e-12, known=ours, trials=trials)


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
