"""The multiplications of a model's layers, counted from the shapes of their inputs and outputs, and
the bytes that a training step must move.

Products are counted as they are defined: zeros of the padding count, and an algorithm with fewer
multiplications does not get a smaller number. Activations, normalisation, pooling and the loss are
not counted.
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
# Layers whose result must be written to memory; an activation can be computed in the same pass.
WRITERS = (*PRODUCTS, BatchNorm2d, MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, UpsamplingNearest2d)


def training_flop(model: Model, run: Callable[[], Any]) -> float:
    """Operations of a training step: `run` is a forward pass, and every multiplication comes with
    an addition. Forward, dx and dw need equally many; the first layer's dx is not computed."""
    multiplications = _counted(model, run, PRODUCTS, _multiplications)
    return 2.0 * (3 * sum(multiplications) - multiplications[0])


def training_bytes(model: Model, run: Callable[[], Any], images: int) -> float:
    """The bytes that an Adam step on N images must move, if no data stays in a cache from one layer
    to the next. `run` is a forward pass of one image.

        4 (10 P + N (5 A + 3 X))        4: float32

    P, parameters: forward and backward read the weight, backward writes its gradient; Adam reads
    weight, gradient and two moments and writes all but the gradient. A, results of the layers
    (WRITERS) per image: written and read in forward; backward reads the result again, and writes
    and reads its gradient. X, numbers of an image: read by the first layer, by its backward, and by
    the loss. Noise, masks, running statistics and partial sums are not counted.
    """
    results = _counted(model, run, WRITERS, lambda layer, x, y: y.size)
    per_image = 5 * sum(results) + 3 * prod(model.image_shape)
    return 4.0 * (10 * model.flat_value.size + images * per_image)


def _multiplications(layer: Any, x: Any, y: Any) -> int:
    # weight[0] has one factor for each term of a number of y (Linear, Conv2d), or for each number
    # of y that a number of x contributes to (ConvTranspose2d).
    numbers = x if isinstance(layer, ConvTranspose2d) else y
    return numbers.size * layer.weight.value[0].size


def _counted(
    model: Model,
    run: Callable[[], Any],
    kinds: tuple[type, ...],
    count: Callable[[Any, Any, Any], int],
) -> list[int]:
    """The results of `count(layer, x, y)` for every forward of a layer of these kinds in `run`."""
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
