"""Batch normalisation and the leaky ReLU after it, as one op: the same numbers, fewer passes.

    y          = leaky_relu(batch_norm(x))
    dx, dw, db = batch_norm_backward(leaky_relu_backward(dy))

    x (N, C) or (N, C, H, W), all else (C,)  ->  y like x

The code below runs batch_norm.py and leaky_relu.py one after the other. On large images both are
limited by memory traffic; a single kernel does not write and read the array between them.
"""

from dataclasses import replace

from ..backend import accelerated
from .batch_norm import (
    BATCH_NORM_SHAPES,
    batch_norm_arguments,
    batch_norm_backward,
    batch_norm_forward,
)
from .batch_norm import CASES as BATCH_NORM_CASES
from .leaky_relu import leaky_relu_backward, leaky_relu_forward


def batch_norm_leaky_relu_arguments(
    x,
    running_mean,
    running_var,
    w,
    b,
    training=False,
    momentum=0.1,
    eps=1e-5,
    negative_slope=0.01,
):
    """Check as for batch_norm; make the slope a float."""
    given = batch_norm_arguments(x, running_mean, running_var, w, b, training, momentum, eps)
    return (*given, float(negative_slope))


@accelerated(BATCH_NORM_SHAPES, arguments=batch_norm_leaky_relu_arguments)
def batch_norm_leaky_relu_forward(
    x, running_mean, running_var, w, b, training, momentum, eps, negative_slope
):
    """y, cache, (running_mean, running_var), as batch_norm_forward."""
    h, norm_cache, running = batch_norm_forward.reference(
        x, running_mean, running_var, w, b, training, momentum, eps
    )
    y, relu_cache = leaky_relu_forward.reference(h, negative_slope)
    cache = (norm_cache, relu_cache)
    return y, cache, running


@accelerated
def batch_norm_leaky_relu_backward(dy, cache):
    """dx, dw, db."""
    norm_cache, relu_cache = cache
    return batch_norm_backward(leaky_relu_backward(dy, relu_cache), norm_cache)


CASES = [
    replace(case, options=case.options | {"negative_slope": 0.2}, linear=())
    for case in BATCH_NORM_CASES
]
