"""Param holds a weight and its gradient; Module finds, names, saves and loads them. A Module is
anything with parameters: a layer, or a model made of layers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from .backend import array_module, asarray, asnumpy, device_of, to_device


class Param:
    """A weight, `.value`, and its gradient, `.grad`: d(loss)/d(value), summed over all backward
    passes since zero_grad. Both may be views into flat buffers: assignment copies into them."""

    value: Any
    grad: Any

    def __init__(self, value: Any) -> None:
        self.value = asarray(value)
        self.grad = array_module(self.value).zeros_like(self.value)

    def __setattr__(self, name: str, array: Any) -> None:
        into = vars(self).get(name)
        if into is None:
            super().__setattr__(name, array)
        elif np.shape(array) != into.shape:
            raise ValueError(f"Param.{name}: expected shape {into.shape}, got {np.shape(array)}")
        elif array is not into:  # after `param.grad += dw` the sum is already in place
            into[...] = to_device(array, device_of(into))

    def move_into(self, value: Any, grad: Any) -> None:
        """From now on use these arrays, views into flat buffers; real ones take the real part."""
        for into, array in ((value, self.value), (grad, self.grad)):
            array = to_device(array, device_of(into))
            into[...] = array.real if into.dtype.kind == "f" else array
        vars(self).update(value=value, grad=grad)

    def __repr__(self) -> str:
        return f"Param{self.value.shape} {self.value.dtype}"


class Module:
    """A layer or a model. Attributes that are a Param, a Module or a list of Modules are found in
    the order in which they were assigned, which is the order of the forward pass."""

    training = True
    buffers: tuple[str, ...] = ()  # attributes that are state, but have no gradient

    def __setattr__(self, name: str, value: Any) -> None:
        """`layer.weight = array` copies into the Param. A Module cannot be replaced: the parameters
        of the new Module would not be in the model's flat buffers."""
        old = self.__dict__.get(name)
        if isinstance(old, Param) and value is not old:
            old.value = value.value if isinstance(value, Param) else value
        elif isinstance(old, Module) and value is not old:
            raise AttributeError(
                f"{type(self).__name__}.{name} cannot be replaced: copy weights into it with "
                "load_state_dict, or build another model"
            )
        else:
            super().__setattr__(name, value)

    def __repr__(self) -> str:
        """As in PyTorch: the child modules by name, or a layer's arguments."""
        children = [f"({name}): {child!r}" for name, child in self.children()]
        if not children:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = "\n".join(children).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {lines}\n)"

    def extra_repr(self) -> str:
        """The constructor's arguments, for `print`."""
        return ""

    def children(self) -> Iterator[tuple[str, Module]]:
        """(name, module) of every direct child; those in lists are called name.0, name.1, ..."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield name, value
            elif isinstance(value, list):
                yield from (
                    (f"{name}.{i}", v) for i, v in enumerate(value) if isinstance(v, Module)
                )

    def parameters(self) -> dict[str, Param]:
        """name -> Param, in the order of the forward pass."""
        own = {name: p for name, p in vars(self).items() if isinstance(p, Param)}
        for prefix, child in self.children():
            own |= {f"{prefix}.{name}": p for name, p in child.parameters().items()}
        return own

    def zero_grad(self) -> None:
        """Set every gradient to zero, because backward adds to it."""
        for p in self.parameters().values():
            p.grad[...] = 0

    def state_dict(self) -> dict[str, np.ndarray]:
        """name -> a copy of the array, for all parameters and buffers, under PyTorch's names."""
        own = {n: asnumpy(p.value).copy() for n, p in vars(self).items() if isinstance(p, Param)}
        own |= {name: np.array(asnumpy(getattr(self, name))) for name in self.buffers}
        for prefix, child in self.children():
            own |= {f"{prefix}.{name}": a for name, a in child.state_dict().items()}
        return own

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy all of `state`; or copy nothing and raise a ValueError that lists every mismatch."""
        mine = self.state_dict()
        arrays = {name: asnumpy(a) for name, a in state.items()}
        if prefix := _surplus_prefix(mine, arrays):
            raise ValueError(
                f"load_state_dict({type(self).__name__}): every name begins with {prefix!r} "
                "(DataParallel adds 'module.', torch.compile '_orig_mod.'): remove it, as in "
                f"{{name.removeprefix({prefix!r}): a for name, a in state.items()}}"
            )
        faults = [f"missing {name}" for name in mine if name not in arrays]
        faults += [f"unknown {name}" for name in arrays if name not in mine]
        for name in [name for name in mine if name in arrays]:
            a, expected = arrays[name], mine[name].shape
            if a.shape != expected:
                faults.append(f"{name} has shape {a.shape}, expected {expected}")
            elif a.dtype.kind not in "fiu":
                faults.append(f"{name} has dtype {a.dtype}, expected real numbers")
        if faults:
            raise ValueError(f"load_state_dict({type(self).__name__}): " + "; ".join(faults))
        self._load(arrays, "")

    def _load(self, arrays: dict[str, np.ndarray], prefix: str) -> None:
        for name, value in list(vars(self).items()):
            if isinstance(value, Param):
                value.value = arrays[prefix + name]
            elif name in self.buffers:
                value[...] = to_device(arrays[prefix + name], device_of(value))
        for name, child in self.children():
            child._load(arrays, f"{prefix}{name}.")

    def modules(self) -> Iterator[Module]:
        """This module and all of its descendants."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def train(self, mode: bool = True) -> Module:
        """Training mode (batch statistics), or evaluation with mode=False."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Module:
        """Evaluation mode: running statistics."""
        return self.train(False)


def _surplus_prefix(expected: Iterable[str], found: Iterable[str]) -> str:
    """The text that each found name has in front of an expected one, or ""."""
    first, names = next(iter(expected), ""), {*found}
    for name in names:
        prefix = name.removesuffix(first)
        if prefix != name and {prefix + name for name in expected} == names:
            return prefix
    return ""
