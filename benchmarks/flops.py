"""How many multiplications a model's layers need, counted from the shapes that pass through them,
and how many bytes a training step must move.

A product with a matrix, or with a kernel at one place, is counted as it is defined: zeros of the
padding count, and a program that needs fewer multiplications gets no smaller number for it.
Activations, normalisation, pooling and the loss are not counted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from math import prod
from typing import Any
from unittest.mock import patch

from scratchvae.layers import (
    AdaptiveAvgPool2d,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    ConvTranspose2d,
    Linear,
    MaxPool2d,
    UpsamplingNearest2d,
)
from scratchvae.models import Model

PRODUCTS = (Linear, Conv2d, ConvTranspose2d)
# Layers whose result has to lie in memory; an activation can be computed on the way there.
WRITERS = (*PRODUCTS, BatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, UpsamplingNearest2d)


def training_flop(model: Model, run: Callable[[], Any]) -> float:
    """Of the layers in `run`, a forward pass; an addition for every multiplication. Forward, dx and
    dw take as many each; the first layer's dx is not computed."""
    multiplications = _counted(model, run, PRODUCTS, _multiplications)
    return 2.0 * (3 * sum(multiplications) - multiplications[0])


def training_bytes(model: Model, run: Callable[[], Any], images: int) -> float:
    """The bytes that a step of Adam on so many images must move, if nothing stays in a cache from
    one layer to the next. `run` is a forward pass of one image.

        4 (10 P + N (5 A + 3 X))        4: float32

    P, parameters: the weight is read forward and backward, its gradient written; Adam reads weight,
    gradient and two moments and writes all but the gradient. A, numbers in the results of an
    image's layers (WRITERS): written and read forward; backward the result is read again, its
    gradient written and read. X, numbers of an image: read by the first layer, by its backward, and
    by the loss. Noise, masks, running statistics and partial sums are not counted.
    """
    results = _counted(model, run, WRITERS, lambda layer, x, y: y.size)
    per_image = 5 * sum(results) + 3 * prod(model.image_shape)
    return 4.0 * (10 * model.flat_value.size + images * per_image)


def _multiplications(layer: Any, x: Any, y: Any) -> int:
    # weight[0]: all that one number of y is made of (Linear, Conv2d), or all that one number of x
    # is spread over (ConvTranspose2d).
    numbers = x if isinstance(layer, ConvTranspose2d) else y
    return numbers.size * layer.weight.value[0].size


def _counted(
    model: Model,
    run: Callable[[], Any],
    kinds: tuple[type, ...],
    count: Callable[[Any, Any, Any], int],
) -> list[int]:
    """`count(layer, x, y)` of every forward of a layer of these kinds in `run`."""
    found = []

    def counting(layer: Any, forward: Any, x: Any, *arguments: Any, **named: Any) -> Any:
        y = forward(x, *arguments, **named)
        found.append(count(layer, x, y))
        return y

    with ExitStack() as patches:
        layers: list[Any] = [m for m in model.modules() if isinstance(m, kinds)]
        for layer in layers:
            counted = partial(counting, layer, layer.forward)
            patches.enter_context(patch.object(layer, "forward", counted))
        run()
    return found
