"""Where did the first NaN come from? A step walked through again, looking at every tensor."""

from __future__ import annotations

from typing import Any

from .backend import array_module
from .models import Model
from .module import Module


def first_not_finite(model: Model, x: Any, eps: Any) -> str:
    """Name the first tensor of a step that is not finite.

    Asked in the order in which a step makes them: the batch, the noise, the weights, the outputs of
    the layers, the loss, and then, from the last layer to the first, the gradients of the weights.

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
    if found:
        return found[0]
    leaves = [(name, m) for name, m in _named(model) if not any(True for _ in m.children())]
    buffers = [(m, name, getattr(m, name).copy()) for _, m in _named(model) for name in m.buffers]
    for name, layer in leaves:
        layer.__dict__["forward"] = _watched(layer, f"the output of {name}", look)
    try:
        losses = model.loss(x, eps)
        look("the loss", *losses)
        if not found:
            model.zero_grad()
            model.backward()
            for name, p in reversed(model.parameters().items()):
                look(f"the gradient of {name}", p.grad)
    finally:
        for _, layer in leaves:
            del layer.__dict__["forward"]
        for module, name, before in buffers:
            getattr(module, name)[...] = before
    return found[0] if found else "none"


def finite(a: Any) -> bool:
    """Whether all of an array is finite."""
    return bool(array_module(a).isfinite(a).all())


def _watched(layer: Module, name: str, look: Any) -> Any:
    forward: Any = getattr(layer, "forward")  # noqa: B009  (not every Module declares one)

    def watched(*args: Any, **options: Any) -> Any:
        y = forward(*args, **options)
        look(name, *(y if isinstance(y, tuple) else (y,)))
        return y

    return watched


def _named(module: Module, prefix: str = "") -> list[tuple[str, Module]]:
    """Every module below this one, by the name that its parameters begin with."""
    found = []
    for name, child in module.children():
        found += [(prefix + name, child), *_named(child, f"{prefix}{name}.")]
    return found
