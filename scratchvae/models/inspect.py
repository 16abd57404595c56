"""A summary of a model's layers, and the search for the first tensor that is not finite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend import array_module, asarray
from ..layers import MeanLogvar, Reparameterize
from ..module import Module
from ..notebook import html_table
from .base import Model

NO_ROW = (Reparameterize, MeanLogvar)  # functions in PyTorch, where only modules get a row
TWO_ROWS = {"BatchNorm2dLeakyReLU": ("BatchNorm2d", "LeakyReLU")}  # one layer here, two in PyTorch


@contextmanager
def watched(model: Model, saw: Callable[[str, Any, Any], None]) -> Iterator[None]:
    """In the `with` block, each forward of a layer calls `saw(name, layer, output)` at its end."""
    watching = [(name, m) for name, m in named_modules(model) if hasattr(m, "forward")]

    def watch(name: str, module: Any) -> None:
        forward = module.forward

        def forward_and_show(*arguments: Any, **options: Any) -> Any:
            y = forward(*arguments, **options)
            saw(name, module, y)
            return y

        vars(module)["forward"] = forward_and_show  # hides the method of the class

    for name, module in watching:
        watch(name, module)
    try:
        yield
    finally:
        for _, module in watching:
            del vars(module)["forward"]


def named_modules(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    """(name, module) for every descendant; the names of its parameters begin with `name`."""
    for name, child in module.children():
        yield prefix + name, child
        yield from named_modules(child, f"{prefix}{name}.")


class Row(NamedTuple):
    """A layer; the rows of a table are in the order of the forward pass."""

    layer: str
    output_shape: tuple[int, ...]  # without the batch
    parameters: int
    name: str = ""  # in the model; of two rows of one layer, both have it


def rows(model: Model) -> list[Row]:
    """The layers of `model` in the order of the forward pass, with their outputs."""
    found: list[Row] = []

    def add_row(name: str, layer: Any, y: Any) -> None:
        if [*layer.children()] or isinstance(layer, NO_ROW):
            return
        size = sum(p.value.size for p in layer.parameters().values())
        kind = type(layer).__name__
        for part in TWO_ROWS.get(kind, (kind,)):
            found.append(Row(part, tuple(y.shape[1:]), size, name))
            size = 0

    x = np.full((1, *model.image_shape), np.mean(model.data_range), model.dtype)
    eps = model.noise(1, np.random.default_rng(0))
    with model.evaluating(), watched(model, add_row):
        model.forward(asarray(x), eps)
    return found


def megabytes(model: Model, table: list[Row]) -> dict[str, float]:
    """The memory of `input`, `passes` (forward and backward), `parameters`, and the `total`, in MB
    (1024^2 bytes). As in torchsummary every output counts twice, for itself and its gradient."""
    sizes = {
        "input": prod(model.image_shape),
        "passes": 2 * sum(prod(row.output_shape) for row in table),
        "parameters": sum(row.parameters for row in table),
    }
    sizes["total"] = sum(sizes.values())
    return {name: size * model.dtype.itemsize / 1024**2 for name, size in sizes.items()}


class Summary(str):
    """Text that a notebook and the interactive interpreter show as `print` does."""

    __repr__ = str.__str__


def summary(model: Model) -> Summary:
    """The table of `scratchvae summary`, in torchsummary's form. Only layers have rows: sampling,
    additions, reshapes and the sigmoid within the loss of a Bernoulli model have none."""
    table = rows(model)
    total, memory = sum(row.parameters for row in table), megabytes(model, table)
    cells = [("Layer (type)", "Output Shape", "Param #")]
    for number, row in enumerate(table, 1):
        shape = str([-1, *row.output_shape])
        cells.append((f"{row.layer}-{number}", shape, f"{row.parameters:,}"))
    width = max(20, *(len(layer) for layer, _, _ in cells))
    heading, *body = (f"{layer:>{width}}  {shape:>25} {count:>15}" for layer, shape, count in cells)
    thin, thick = "-" * (width + 44), "=" * (width + 44)
    lines = [
        thin,
        heading,
        thick,
        *body,
        thick,
        f"Total params: {total:,}",
        f"Trainable params: {total:,}",
        "Non-trainable params: 0",
        thin,
        f"Input size (MB): {memory['input']:.2f}",
        f"Forward/backward pass size (MB): {memory['passes']:.2f}",
        f"Params size (MB): {memory['parameters']:.2f}",
        f"Estimated Total Size (MB): {memory['total']:.2f}",
        thin,
    ]
    return Summary("\n".join(lines))


def html_summary(model: Model) -> str:
    """What a notebook shows for a model: its layers, as in `rows`, with their names."""
    table = rows(model)
    cells = [["name", "layer", "output shape", "parameters"]]
    cells += [[r.name, r.layer, str(r.output_shape), f"{r.parameters:,}"] for r in table]
    total, memory = sum(row.parameters for row in table), megabytes(model, table)
    about = f"{total:,} parameters in {model.dtype}, {memory['parameters']:.2f} MB"
    return html_table(cells, f"{type(model).__name__}: {about}")


def first_not_finite(model: Model, x: Any, eps: Any) -> str:
    """The name of a step's first tensor that is not finite, such as "the output of fc_logvar", or
    "none".

    The order is that of the step: batch, noise, weights, outputs of the layers, terms of the loss,
    and gradients from the last layer to the first. The arguments are those of `model.loss`.
    Gradients are overwritten; weights and running statistics are not.
    """
    found: list[str] = []

    def look(name: str, *tensors: Any) -> None:
        if not all(finite(tensor) for tensor in tensors if hasattr(tensor, "dtype")):
            found.append(name)

    def look_at_output(name: str, _: Any, y: Any) -> None:
        look(f"the output of {name}", *(y if isinstance(y, tuple) else (y,)))

    look("the batch", x)
    look("the noise", eps)
    for name, p in model.parameters().items():
        look(f"the weight {name}", p.value)
    if not found:
        before = model.state_dict()
        try:
            with np.errstate(all="ignore"), watched(model, look_at_output):
                losses = model.loss(x, eps)
                look("the reconstruction term", losses.reconstruction)
                look("the KL term", losses.kl)
                look("the loss", losses.total)
                if not found:
                    model.zero_grad()
                    model.backward()
                    for name, p in reversed(model.parameters().items()):
                        look(f"the gradient of {name}", p.grad)
        finally:
            model.load_state_dict(before)  # the running statistics
    return found[0] if found else "none"


def finite(a: Any) -> bool:
    """Whether all values of an array are finite."""
    return bool(array_module(a).isfinite(a).all())
