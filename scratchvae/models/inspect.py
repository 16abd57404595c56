"""A model in one table, a row per layer, in the form that torchsummary made familiar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ..backend import asarray
from ..layers import MeanLogvar, Reparameterize
from ..module import Module
from . import Model

MEGABYTE = 1024**2
NO_ROW = (Reparameterize, MeanLogvar)  # functions in PyTorch, where modules alone get a row


class Row(NamedTuple):
    """A layer, in the order in which the forward pass meets it."""

    layer: str
    output_shape: tuple[int, ...]  # without the batch
    parameters: int


def rows(model: Model) -> list[Row]:
    """The layers of `model` as an image passes through them, each with its output."""
    found: list[Row] = []
    x = np.full((1, *model.image_shape), np.mean(model.data_range), model.dtype)
    eps = model.noise(1, np.random.default_rng(0))
    with model.evaluating(), _watched(model, found):
        model.forward(asarray(x), eps)
    return found


def megabytes(model: Model, table: list[Row]) -> dict[str, float]:
    """What `input`, `passes` (forward and backward), `parameters` and all of it, the `total`, take.

    In MB (1024^2 bytes), as torchsummary reckons: input and parameters as they are stored, and
    every output twice, once for itself and once for its gradient.
    """
    sizes = {
        "input": prod(model.image_shape),
        "passes": 2 * sum(prod(row.output_shape) for row in table),
        "parameters": sum(row.parameters for row in table),
    }
    sizes["total"] = sum(sizes.values())
    return {name: size * model.dtype.itemsize / MEGABYTE for name, size in sizes.items()}


def summary(model: Model) -> str:
    """The table of `scratchvae summary`: rows, totals and memory.

    An activation has a row, also where a layer computes it along with its own output.
    Sampling, additions and reshapes are no layers and have no row; neither has the sigmoid that a
    Bernoulli model's loss holds. For the MB see `megabytes`.
    """
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
    return "\n".join(lines)


@contextmanager
def _watched(model: Module, found: list[Row]) -> Iterator[None]:
    """Every layer reports its output to `found`, inside the `with` block and no longer."""
    layers = [m for m in model.modules() if not [*m.children()] and not isinstance(m, NO_ROW)]

    def report(layer: Module) -> None:
        forward = layer.forward  # type: ignore[attr-defined]

        def reporting(*arguments: Any) -> Any:
            y = forward(*arguments)
            size = sum(p.value.size for p in layer.parameters().values())
            found.append(Row(type(layer).__name__, tuple(y.shape[1:]), size))
            if activation := getattr(layer, "activation", None):
                found.append(Row(type(activation).__name__, tuple(y.shape[1:]), 0))
            return y

        vars(layer)["forward"] = reporting  # hides the method of the class

    for layer in layers:
        report(layer)
    try:
        yield
    finally:
        for layer in layers:
            del vars(layer)["forward"]
