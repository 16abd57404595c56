"""How many multiplications a model's layers need, counted from the shapes that pass through them.

A product with a matrix, or with a kernel at one place, is counted as it is defined: zeros of the
padding count, and a program that needs fewer multiplications gets no smaller number for it.
Activations, normalisation, pooling and the loss are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from scratchvae.layers import Conv2d, ConvTranspose2d, Linear
from scratchvae.models import Model


def forward_flop(model: Model, run: Callable[[], Any]) -> float:
    """Of all layers that `run` meets: an addition for every multiplication."""
    with _watched(model) as multiplications:
        run()
    return 2.0 * sum(multiplications)


def training_flop(model: Model, run: Callable[[], Any]) -> float:
    """Forward, dx and dw take as many each; the first layer's dx is not computed."""
    with _watched(model) as multiplications:
        run()
    return 2.0 * (3 * sum(multiplications) - multiplications[0])


@contextmanager
def _watched(model: Model) -> Iterator[list[int]]:
    """Inside the `with` block every forward of a layer adds its multiplications to the list."""
    layers = [m for m in model.modules() if isinstance(m, Linear | Conv2d | ConvTranspose2d)]
    found: list[int] = []

    def watch(layer: Any) -> None:
        forward = layer.forward

        def counting(x: Any, *arguments: Any, **named: Any) -> Any:
            y = forward(x, *arguments, **named)
            # weight[0]: all that one number of y is made of (Linear, Conv2d), or all that one
            # number of x is spread over (ConvTranspose2d).
            numbers = x if isinstance(layer, ConvTranspose2d) else y
            found.append(numbers.size * layer.weight.value[0].size)
            return y

        vars(layer)["forward"] = counting  # hides the method of the class

    for layer in layers:
        watch(layer)
    try:
        yield found
    finally:
        for layer in layers:
            vars(layer).pop("forward")
