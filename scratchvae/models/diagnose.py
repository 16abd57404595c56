"""Where did the first NaN come from? A step walked through again, looking at every tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..backend import array_module
from ..module import Module
from . import Model

Look = Callable[..., None]  # (name, *tensors)


def first_not_finite(model: Model, x: Any, eps: Any) -> str:
    """Name the first tensor of a step that is not finite.

    Asked in the order in which a step makes them: the batch, the noise, the weights, the outputs of
    the layers, the terms of the loss, and then, from the last layer to the first, the gradients.

    Parameters
    ----------
    model, x, eps
        As for `model.loss`. Weights and statistics stay as they are; gradients are overwritten.

    Returns
    -------
    str
        Such as "the output of fc_logvar", "the gradient of fc1.weight", or "none" if all of them
        are finite.
    """
    found: list[str] = []

    def look(name: str, *tensors: Any) -> None:
        if not all(finite(tensor) for tensor in tensors if hasattr(tensor, "dtype")):
            found.append(name)

    look("the batch", x)
    look("the noise", eps)
    for name, p in model.parameters().items():
        look(f"the weight {name}", p.value)
    if not found:
        with np.errstate(all="ignore"), _watched(model, look), _statistics_kept(model):
            losses = model.loss(x, eps)
            look("the reconstruction term", losses.reconstruction)
            look("the KL term", losses.kl)
            look("the loss", losses.total)
            if not found:
                model.zero_grad()
                model.backward()
                for name, p in reversed(model.parameters().items()):
                    look(f"the gradient of {name}", p.grad)
    return found[0] if found else "none"


def finite(a: Any) -> bool:
    """Whether all of an array is finite."""
    return bool(array_module(a).isfinite(a).all())


@contextmanager
def _watched(model: Module, look: Look) -> Iterator[None]:
    """Inside, every module shows its outputs to `look`: layers first, then what is made of them,
    such as a block whose batch norm and activation are one op in training."""
    watched = [(name, module) for name, module in _named(model) if hasattr(module, "forward")]
    for name, module in watched:
        module.__dict__["forward"] = _showing(module, f"the output of {name}", look)
    try:
        yield
    finally:
        for _, module in watched:
            del module.__dict__["forward"]


def _showing(module: Any, name: str, look: Look) -> Callable[..., Any]:
    forward = module.forward

    def showing(*args: Any, **options: Any) -> Any:
        y = forward(*args, **options)
        look(name, *(y if isinstance(y, tuple) else (y,)))
        return y

    return showing


@contextmanager
def _statistics_kept(model: Module) -> Iterator[None]:
    """Afterwards the running statistics of batch norms are what they were."""
    before = [(m, name, getattr(m, name).copy()) for m in model.modules() for name in m.buffers]
    try:
        yield
    finally:
        for module, name, statistic in before:
            getattr(module, name)[...] = statistic


def _named(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """Every module below this one, by the name that its parameters begin with."""
    for name, child in module.children():
        yield prefix + name, child
        yield from _named(child, f"{prefix}{name}.")
