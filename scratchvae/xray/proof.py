"""The proof of a recorded step: its gradients beside derivatives of its forward passes.

Two questions, both in float64. For a layer: is `backward` the derivative of `forward`? With the dy
of the step, the sum of dy y has the derivative dx. For the whole step: is the gradient of every
parameter the derivative of the loss? Each is answered for a few elements, by the complex step,
which has no rounding error to speak of, and by a central difference. The checks of gradcheck/ say
more about a function, but they refuse one that gives NaN, whose step you may want to see.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from functools import partial
from inspect import unwrap
from typing import Any, NamedTuple

import numpy as np

from .. import layers, ops
from ..backend import using
from ..gradcheck.subject import layer_at
from ..models import Model
from ..models.inspect import named_modules
from .graph import Node
from .record import Step, scope_of

COMPLEX_STEP, DIFFERENCE = 1e-100, 1e-6  # the step h, in units of max(1, |x|) for a difference
TOLERANCE = 1e-9  # of the complex step, relative to the largest element of the gradient
NOT_ANALYTIC = 1e-3  # the two derivatives differ by more only if the complex step does not apply
LOOSE = 1e-6  # of the difference, if it is the judge
ROUNDING = 1e-7  # of the function's value: with TOLERANCE this is the rounding of float64
NEGLIGIBLE = 1e-4  # of the largest gradient: a gradient of rounding errors is compared with this
ROUNDED = {"float32": 1e-4, "float64": 1e-9}  # of the step's own number

GRADIENTS = {"weight": "dw", "bias": "db"}  # what ops call the gradients of a layer's parameters


class Sample(NamedTuple):
    """One element of a gradient, computed in four ways."""

    element: tuple[int, ...]  # its index
    recorded: Any  # by the step, a number of the model's dtype
    analytic: float  # by backward, in float64
    central: float
    complex_step: float


class Proof(NamedTuple):
    """Samples of one gradient."""

    tensor: str  # "x" or "weight" of a layer; "conv1.weight" of the step
    scale: float  # errors are relative to this, the largest element
    largest: float  # of all gradients beside this one
    samples: list[Sample]

    def errors(self, sample: Sample) -> tuple[float, float]:
        """Of the central difference and of the complex step, relative to the largest element."""
        numeric = np.array([sample.central, sample.complex_step])
        central, complex_step = np.nan_to_num(abs(numeric - sample.analytic) / self.scale, nan=1.0)
        return float(central), float(complex_step)

    def agrees(self, sample: Sample) -> bool:
        """Whether backward's element is the derivative, by the complex step where it applies; and
        whether the step's own number is backward's, but for rounding (NaN is not)."""
        scale = max(self.scale, 0.1 * self.largest)  # in float32 a sum near zero is all rounding
        off = abs(float(sample.recorded) - sample.analytic) / scale
        if not off <= ROUNDED[str(sample.recorded.dtype)]:
            return False
        central, complex_step = self.errors(sample)
        apart = abs(sample.central - sample.complex_step) / self.scale
        analytic = apart <= NOT_ANALYTIC  # otherwise the complex step does not apply
        return complex_step <= TOLERANCE or (not analytic and central <= LOOSE)

    @property
    def verdict(self) -> str:
        """ "agrees", "WRONG" or, where forward gives no number, "not finite"."""
        wrong = [s for s in self.samples if not self.agrees(s)]
        if not wrong:
            return "agrees"
        lost = not any(np.isfinite([s.central, s.complex_step]).any() for s in wrong)
        return "not finite" if lost else "WRONG"


def of_step(step: Step, count: int = 2) -> list[Proof]:
    """`count` elements of the gradient of each parameter, the derivative of the loss."""
    with using("numpy"), np.errstate(all="ignore"):
        recorded, start = {}, 0
        for name, p in step.model.parameters().items():
            part = step.gradient[start : start + p.value.size]
            recorded[name] = part.reshape(p.value.shape)
            start += p.value.size
        x, eps = step.x.astype("float64"), step.eps.astype("float64")
        exact = _gradients(deepcopy(step.model).to("float64"), x, eps)
        copies = {d: deepcopy(step.model).to(d) for d in ("float64", "complex128")}

        def loss(name: str, value: np.ndarray) -> Any:
            model = copies[str(value.dtype)]
            p = model.parameters()[name]
            before, p.value = p.value.copy(), value
            try:
                return model.loss(x, eps, keep=False).total
            finally:
                p.value = before

        values = {n: p.value for n, p in copies["float64"].parameters().items()}
        return _proofs(values, recorded, exact, loss, count)


def _gradients(model: Model, x: np.ndarray, eps: np.ndarray) -> dict[str, np.ndarray]:
    model.train()
    model.zero_grad()
    model.loss(x, eps)
    model.backward()
    return {name: p.grad for name, p in model.parameters().items()}


def of_node(step: Step, forward: Node, backward: Node, count: int = 5) -> list[Proof]:
    """`count` elements of each gradient of one op, with its dy held fixed."""
    named_layers = {scope_of(n): m for n, m in named_modules(step.model)}
    layer: Any = named_layers.get(forward.call.scope)
    given = dict(forward.inputs)
    if type(layer).__module__ == layers.__name__:  # which does no more than its op
        inputs = {n: a for n, a in given.items() if n not in forward.call.owned}
        given = inputs | {n: p.value for n, p in layer.parameters().items()}
        run = _layer(layer, [*inputs])
    else:
        run = _function(forward)
    dy = next(iter(backward.call.arguments.values()))
    values = {n: np.array(a, "float64") for n, a in given.items() if a.dtype.kind == "f"}
    results = backward.call.result
    named = {n: GRADIENTS.get(n, f"d{n}") for n in values}
    recorded = {n: results[d] for n, d in named.items() if d in results}
    with using("numpy"), np.errstate(all="ignore"):
        dy = np.array(dy, "float64")
        exact = run(values, dy)[1]

        def objective(name: str, value: np.ndarray) -> Any:
            return (dy * run(values | {name: value}, None)[0]).sum()

        moving = {n: values[n] for n in values if n in recorded and n in exact}
        return _proofs(moving, recorded, exact, objective, count)


# Runs an op with these inputs and weights: y, and if dy is given its gradients.
Run = Callable[[dict[str, np.ndarray], np.ndarray | None], tuple[Any, dict[str, np.ndarray]]]


def _layer(layer: Any, names: list[str]) -> Run:
    """A layer of the model, its forward and backward."""

    def run(values: dict[str, np.ndarray], dy: np.ndarray | None) -> Any:
        weights = [values[name] for name in layer.parameters()]
        copy = layer_at(layer, weights, np.result_type(*values.values()))
        y = copy.forward(*(values[name] for name in names))
        if dy is None:
            return y, {}
        dx = copy.backward(dy)
        dxs = dx if isinstance(dx, tuple) else (dx,)
        gradients = dict(zip(names, dxs, strict=False))
        return y, gradients | {n: p.grad for n, p in copy.parameters().items()}

    return run


def _function(node: Node) -> Run:
    """An op that a model calls, such as the terms of the loss, or a layer that does more."""
    ends = ("forward", "backward")
    forward, backward = (unwrap(getattr(ops, f"{node.op}_{end}").reference) for end in ends)

    def run(values: dict[str, np.ndarray], dy: np.ndarray | None) -> Any:
        y, cache, *_ = forward(**node.call.arguments | values)
        y = y[0] if isinstance(y, tuple) else y  # the total of the losses
        if dy is None:
            return y, {}
        gradients = backward(dy if dy.ndim else float(dy), cache)
        gradients = gradients if isinstance(gradients, tuple) else (gradients,)
        return y, dict(zip(values, gradients, strict=False))

    return run


def _proofs(
    values: dict[str, np.ndarray],
    recorded: dict[str, np.ndarray],
    exact: dict[str, np.ndarray],
    objective: Callable[[str, np.ndarray], Any],
    count: int,
) -> list[Proof]:
    """Compare the element with the largest gradient and random ones; `objective` gives a number."""
    rng = np.random.default_rng(0)
    largest = max((_largest(exact[name]) for name in values), default=0.0)
    proofs = []
    for name, value in values.items():
        if not value.size:
            continue
        gradient = exact[name]
        chosen = {int(np.nan_to_num(abs(gradient)).argmax())}
        chosen |= {*map(int, rng.permutation(value.size)[: count - 1])}
        samples, sizes = [], []
        for flat in sorted(chosen):
            k = np.unravel_index(flat, value.shape)
            numbers = recorded[name][k], gradient[k]
            size, *numeric = _derivatives(partial(objective, name), value, k)
            samples.append(Sample(tuple(map(int, k)), *numbers, *numeric))
            sizes.append(ROUNDING * size)
        known = [abs(number) for s in samples for number in s[2:]] + sizes
        scale = max([_largest(gradient), NEGLIGIBLE * largest, *filter(np.isfinite, known)])
        proofs.append(Proof(name, float(scale) or 1.0, largest, samples))
    return proofs


def _derivatives(f: Callable[[np.ndarray], Any], value: np.ndarray, k: Any) -> Iterator[float]:
    """The magnitude of f, and its central difference and complex step at element k; NaN for the
    latter if f does not take complex numbers."""
    h = DIFFERENCE * max(1.0, abs(float(value[k])))
    sides = []
    for sign in (1, -1):
        moved = value.copy()
        moved[k] += sign * h
        sides.append((moved[k], f(moved)))
    (right, above), (left, below) = sides
    yield float(abs(above))
    yield float((above - below) / (right - left))
    moved = value.astype("complex128")
    moved[k] += COMPLEX_STEP * 1j
    try:
        yield float(np.imag(f(moved)) / COMPLEX_STEP)
    except TypeError:  # NumPy, for a ufunc that has no complex version
        yield np.nan


def _largest(a: np.ndarray) -> float:
    finite = a[np.isfinite(a)]
    return float(abs(finite).max()) if finite.size else 0.0
