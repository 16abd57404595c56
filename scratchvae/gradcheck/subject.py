"""A Subject of a check: a pair of functions, a layer or a model. They receive copies, and their
results are copied. A forward that changes its input or draws noise is an error."""

import inspect
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import asarray, asnumpy, is_array
from ..models import MODELS, Model
from ..module import Module, Param
from ..ops import Losses
from .trials import FLOOR, Pair, differing, faults_of, largest


@dataclass
class Subject:
    """Everything as NumPy arrays of float64; the output is one array, without axes or in a row."""

    name: str
    tensors: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]  # from backward, for dy
    output_at: Callable[[dict[str, np.ndarray]], np.ndarray]  # with these tensors moved
    dy: np.ndarray
    dtype: str  # that of backward
    analytic_to: float | None  # tolerance of the test of the complex step; None: not needed
    trials: Callable[[float, float], list[str]]  # see trials.py
    missing: tuple[str, ...] = ()  # the tensors for which backward returned None
    negligible: float = 1e-13  # what counts as zero, relative to the largest
    known: bool = False  # one of our models: computed in float64 throughout

    def __post_init__(self) -> None:
        name, y = self.name, np.array(self.output_at({}))
        if y.dtype != np.float64:
            raise TypeError(f"check: {name} must return float64 for float64, got y of {y.dtype}")
        if not np.isfinite(y).all():
            raise ValueError(f"check: {name} returns NaN or infinity: choose other inputs")
        if not np.array_equal(y, self.output_at({})):
            raise ValueError(
                f"check: {name} returns another y each time: draw its noise first, and pass it in"
            )
        self.y = y
        self.gradients = {n: g.astype("float64") for n, g in self.gradients.items()}
        self.dy = self.dy.astype("float64")
        # the largest element of all finite gradients
        self.largest = max(filter(np.isfinite, map(largest, self.gradients.values())), default=0.0)

    def output(self, moving: str, value: np.ndarray) -> np.ndarray:
        """y with this value of this tensor, maybe complex."""
        y = np.array(self.output_at({moving: value}))
        if y.shape != self.y.shape:
            raise ValueError(f"check: the shape of y changes with {moving}: {y.shape}")
        return y


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
) -> Subject:
    """`forward(*inputs)` returns y, cache; `backward(dy, cache)` a gradient for each input."""
    inputs = _checked_inputs(inputs, dtype)
    names = names or _names_of(forward, len(inputs))
    for option, chosen in (("without_gradient", without_gradient), ("batch", batch)):
        if isinstance(chosen, str):
            raise TypeError(f"check: {option} must be a list of names, got {chosen!r}")
        if unknown := [str(n) for n in chosen if n not in names]:
            raise ValueError(
                f"check: no input is called {', '.join(unknown)}; choose from {[*names]} ({option})"
            )
    title = getattr(forward, "__name__", "").removesuffix("_forward")
    name = name or (title if title.isidentifier() else "forward")  # conv2d for conv2d_forward
    # rounded to backward's dtype
    given = {n: np.array(x, dtype, order="C") for n, x in zip(names, inputs, strict=True)}
    tensors = {n: x.astype("float64") for n, x in given.items()}
    arrays = {n: asarray(x.copy()) for n, x in given.items()}
    result = forward(*arrays.values())
    _check_unchanged(f"{name} changes its input", given, arrays)
    if not isinstance(result, tuple) or len(result) < 2:
        raise TypeError(f"check: forward must return (y, cache), got {_kind_of(result)}")
    outputs = Outputs(name, result[0], without_dy)
    y, cache = outputs.joined(result[0]), result[1]
    # For dy = 1, or dy = x from the same default_rng(seed), the gradient of a batch norm is zero.
    dy = np.random.default_rng([seed, 1]).standard_normal(y.shape).astype(dtype)

    def run_forward(values: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
        """y and the cache. Arrays with the trials' memory layouts are not copied."""
        copies = (v.copy() if v.flags.c_contiguous else v for v in values.values())
        y, cache, *_ = forward(*map(asarray, copies))
        return outputs.joined(y), cache

    def run_backward(dy: np.ndarray, cache: Any, lay_out: Any = np.copy) -> dict[str, np.ndarray]:
        """Copies of the gradients; an error if backward changes dy."""
        parts = outputs.parts(dy, lay_out)
        came = backward(parts, cache)
        _check_unchanged("backward changes", {"dy": dy}, {"dy": outputs.joined(parts)})
        gradients = _counted(came, names, without_gradient)
        return {n: _checked_gradient(n, g, given[n].shape) for n, g in gradients.items()}

    def run(values: Any, dy: np.ndarray, lay_out: Any = np.copy) -> tuple[np.ndarray, Any]:
        y, cache = run_forward(values)
        return y, run_backward(dy, cache, lay_out)

    gradients = run_backward(dy, cache)
    _check_unchanged("backward changes the input", given, arrays)
    pair = Pair(given, y, dy, gradients, lambda: run_backward(dy, cache), run, batch)
    return Subject(
        name, tensors, gradients, lambda moved: run_forward(tensors | moved)[0], dy, dtype,
        analytic_to, lambda tolerance, atol: faults_of(pair, tolerance, atol, seed),
        missing=tuple(n for n in names if n not in {*gradients, *without_gradient}),
    )  # fmt: skip


def of_layer(
    layer: Module,
    inputs: Sequence[np.ndarray],
    seed: int = 0,
    without_gradient: Sequence[str] = (),
    batch: Sequence[str] = (),
) -> Subject:
    """Copies of a layer, its inputs and parameters. Its backward gives a gradient for each input
    not in `without_gradient`."""
    if not isinstance(layer, Module):
        raise TypeError(f"check_layer: layer must be a Module, got {type(layer).__name__}")
    if isinstance(layer, Model):
        raise TypeError("check_layer: a model has its own loss; use check_model")
    name, parameters = type(layer).__name__, _distinct(layer)
    dtype = next((str(p.value.dtype) for p in parameters.values()), "float64")
    signature = inspect.signature(layer.forward)  # type: ignore[attr-defined]
    accepted = [p for p in signature.parameters if p != "keep"]
    if len(accepted) != len(inputs):
        raise TypeError(
            f"check_layer: {name}.forward takes {', '.join(accepted)}; got {len(inputs)} inputs"
        )
    names = [f"{n} (input)" if n in parameters else n for n in accepted]

    def forward(*values: Any) -> tuple[Any, tuple[Any, ...]]:
        """A copy of the layer at these inputs and parameters; the copy is its own cache."""
        given, weights = values[: len(names)], values[len(names) :]
        common = np.result_type(*(value.dtype for value in values))  # complex if one of them is
        run = layer_at(layer, weights, common)
        return run.forward(*given), (run, given)

    def backward(dy: Any, cache: Any) -> tuple[Any, ...]:
        """The gradients of inputs and parameters, after a new forward: a cache works only once."""
        run, given = cache
        run.forward(*given)
        before = [p.grad.copy() for p in _distinct(run).values()]
        dx = _counted(run.backward(dy), names, without_gradient)
        added = (p.grad - b for p, b in zip(_distinct(run).values(), before, strict=True))
        return *map(dx.get, names), *added

    values = [*inputs, *(asnumpy(p.value).astype("float64") for p in parameters.values())]
    return of_pair(
        forward, backward, values, dtype, seed, name, [*names, *parameters],
        without_gradient=without_gradient, batch=batch,
    )  # fmt: skip


def layer_at(layer: Module, weights: Sequence[np.ndarray], dtype: np.dtype) -> Any:
    """A copy of a layer with these weights, of any dtype, and with buffers of this dtype."""
    copy = deepcopy(layer)
    for p, value in zip(_distinct(copy).values(), weights, strict=True):
        vars(p).update(vars(Param(value.copy())))  # contiguous; assignment would keep the old dtype
    for module in copy.modules():
        for name in module.buffers:
            if (buffer := getattr(module, name)).dtype.kind == "f":
                setattr(module, name, buffer.astype(dtype))
    return copy


def of_model(model: Model, x: Any, eps: Any) -> Subject:
    """All parameters of a model; y is its loss at x with the noise eps. Only copies are run."""
    real = deepcopy(model)
    real.zero_grad()

    def step() -> dict[str, np.ndarray]:
        real.loss(asarray(x).copy(), asarray(eps).copy())
        real.backward()
        return {n: np.array(asnumpy(p.grad)) for n, p in real.parameters().items()}

    gradients = step()

    def trials(tolerance: float, atol: float) -> list[str]:
        """Backward adds: a second loss doubles the gradients."""
        added = {n: g - gradients[n] for n, g in step().items()}
        limit = max(tolerance, FLOOR[str(real.dtype)])
        return [
            f"after a second loss and backward, the gradient of {n} is not twice the first one: "
            "backward must add to it"
            for n in differing(gradients, added, limit, atol)
        ][:1]

    images, noise = (asnumpy(a).astype("float64") for a in (x, eps))
    copies = {kind: deepcopy(model).to(kind) for kind in ("float64", "complex128")}
    tensors = {n: asnumpy(p.value).copy() for n, p in copies["float64"].parameters().items()}

    def output_at(moved: dict[str, np.ndarray]) -> np.ndarray:
        copy = copies[str(np.result_type("float64", *moved.values()))]
        parameters = copy.parameters()
        try:
            for n, value in moved.items():
                parameters[n].value = asarray(value)
            losses = copy.loss(asarray(images.copy()), asarray(noise.copy()), keep=False)
            return asnumpy(losses.total)
        finally:
            for n in moved:
                parameters[n].value = asarray(tensors[n])

    ours = type(model) in MODELS.values()  # their bodies are analytic, tests/ops/test_dtypes.py
    return Subject(
        type(model).__name__, tensors, gradients, output_at, np.ones(()), str(model.dtype),
        None if ours else 0.01, trials, known=ours,
        negligible=1e-12,  # sums over many pixels leave more rounding
    )  # fmt: skip


class Outputs:
    """One output, or a tuple of outputs joined into a row. The dy of those in `without_dy`, and of
    None, integers and booleans, is None. Of Losses only the total is used."""

    def __init__(self, name: str, y: Any, without_dy: Sequence[int]) -> None:
        self.several = isinstance(y, tuple) and not isinstance(y, Losses)
        parts = self._listed(y)
        if unknown := [k for k in without_dy if not self.several or k not in range(len(parts))]:
            raise ValueError(
                f"check: without_dy has output {unknown[0]}, but {name} has {len(parts)}"
            )
        self.shapes: list[tuple[int, ...] | None] = []
        for k, part in enumerate(parts):
            which = f"output {k}" if self.several else "y"
            a = _plain(f"{which} of {name}", part)
            without = self.several and (k in without_dy or part is None or a.dtype.kind in "iub")
            if not without and (a.dtype.kind != "f" or a.size == 0):
                got = f"{a.dtype} of shape {a.shape}"
                raise TypeError(f"check: {name} must return {which} of floats, got {got}")
            self.shapes.append(None if without else a.shape)
        if all(shape is None for shape in self.shapes):
            raise ValueError(f"check: no output of {name} has a dy, so there is nothing to check")

    def _listed(self, y: Any) -> Sequence[Any]:
        return y if self.several else [y.total if isinstance(y, Losses) else y]

    def joined(self, y: Any) -> np.ndarray:
        """The outputs that have a dy, joined into a row."""
        pairs = zip(self._listed(y), self.shapes, strict=True)
        parts = [np.ravel(asnumpy(part)) for part, shape in pairs if shape is not None]
        dtypes = sorted({str(p.dtype) for p in parts if p.dtype.kind == "f"})  # or complex
        if len(dtypes) > 1:
            raise TypeError(f"check: the outputs must have one dtype, got {', '.join(dtypes)}")
        return np.concatenate(parts)

    def parts(self, dy: np.ndarray, lay_out: Callable[..., np.ndarray]) -> Any:
        """The dy of one output, or a tuple with one for each output."""
        sizes = [0 if shape is None else math.prod(shape) for shape in self.shapes]
        pairs = zip(np.split(dy, np.cumsum(sizes)[:-1]), self.shapes, strict=True)
        parts = [None if s is None else asarray(lay_out(part.reshape(s))) for part, s in pairs]
        return tuple(parts) if self.several else parts[0]


def _distinct(layer: Module) -> dict[str, Param]:
    """The parameters; tied weights under their first name."""
    named = layer.parameters()
    first = {p: n for n, p in reversed(named.items())}
    return {first[p]: p for p in named.values()}


def _names_of(forward: Callable[..., Any], count: int) -> list[str]:
    """The names of forward's parameters, where it has one for each input."""
    try:
        parameters = [*inspect.signature(forward).parameters.values()]
    except (TypeError, ValueError):  # some built-in functions have no signature
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return names[:count] if len(names) >= count else [f"input {k}" for k in range(count)]


# Checks of the functions under test and their arguments


def _checked_inputs(inputs: Sequence[Any], dtype: str) -> list[np.ndarray]:
    """Check the dtype of backward, and that inputs are float64, finite and not empty."""
    if dtype not in ("float64", "float32"):
        raise ValueError(f"check: dtype must be 'float64' or 'float32', got {dtype!r}")
    inputs = [np.asarray(x) if isinstance(x, np.float64) else x for x in inputs]
    for k, x in enumerate(inputs):
        if not (isinstance(x, np.ndarray) and is_array(x) and x.dtype == np.float64 and x.size):
            raise TypeError(
                f"check: input {k} must be a float64 array, and not empty, got {_kind_of(x)}; "
                "use np.asarray(x, 'float64'); dtype='float32' runs backward in float32"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"check: input {k} contains NaN or infinity")
    return inputs


def _plain(what: str, a: Any) -> np.ndarray:
    """A copy of `a` as an array; TypeError for masked arrays and np.matrix."""
    if isinstance(a, np.ndarray) and not is_array(a):
        raise TypeError(f"check: {what} must be a plain array, got {type(a).__name__}")
    return np.array(asnumpy(a))


def _checked_gradient(tensor: str, gradient: Any, expected: tuple[int, ...]) -> np.ndarray:
    """A copy of a gradient; ValueError if it has another shape than its tensor."""
    g = _plain(f"the gradient of {tensor}", gradient)
    if g.shape != expected or g.dtype.kind not in "fiu":
        fits = " (its transpose would fit)" if g.shape[::-1] == expected != g.shape else ""
        raise ValueError(
            f"check: the gradient of {tensor} must have its shape {expected} and real numbers, "
            f"got {g.shape} of {g.dtype}{fits}"
        )
    return g


def _check_unchanged(what: str, before: dict[str, np.ndarray], after: dict[str, Any]) -> None:
    for n, a in before.items():
        if asnumpy(after[n]).tobytes() != a.tobytes():
            raise ValueError(f"check: {what} {n} in place, so it cannot be checked: work on a copy")


def _counted(gradients: Any, names: Sequence[str], without: Sequence[str]) -> dict[str, Any]:
    """name -> gradient without None; expects one for each name, optional for names in `without`."""
    gradients = tuple(gradients) if isinstance(gradients, tuple | list) else (gradients,)
    came = ", ".join(map(_kind_of, gradients))
    expected = [n for n in names if n not in without or len(gradients) == len(names)]
    if len(gradients) != len(expected):
        raise ValueError(
            f"check: {len(names)} inputs ({', '.join(names)}) need as many gradients, backward "
            f"returned {came}; list inputs without a gradient in without_gradient=[...]"
        )
    pairs = zip(expected, gradients, strict=True)
    found = {n: g for n, g in pairs if g is not None and n not in without}
    if not found and any(n not in without for n in names):
        raise ValueError(f"check: nothing to check, backward returned {came}")
    return found


def _kind_of(a: Any) -> str:
    if type(a) is not np.ndarray:
        return type(a).__name__
    return f"an array of {a.dtype}" if a.size else f"an empty array of {a.dtype}"
