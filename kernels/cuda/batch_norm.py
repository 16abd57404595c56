"""Batch normalisation, two launches in each pass, with leaky ReLU if the slope is not 1."""

from . import contiguous, empty, empty_like, launch
from .channels import parts_per_channel


def batch_norm_forward(x, running_mean, running_var, w, b, training, momentum, eps):
    return _forward(x, running_mean, running_var, w, b, training, momentum, eps, 1.0)


def _forward(x, running_mean, running_var, w, b, training, momentum, eps, slope):
    x, *vectors = map(contiguous, (x, running_mean, running_var, w, b))
    sizes = _sizes(x)
    blocks = sizes[1] * sizes[3]
    y, parts, new = empty_like(x), None, (None, None)
    mean, inv_std = empty_like(running_mean), empty_like(running_mean)
    if training:
        parts = empty((blocks, 3), "float64")
        new = empty_like(running_mean), empty_like(running_var)
        launch("moments", blocks, x, parts, *sizes)
    arguments = parts, momentum, eps, slope, y, mean, inv_std, *new
    launch("normalise", blocks, x, *vectors, *arguments, *sizes)
    cache = (x, mean, inv_std, *vectors[2:], training, slope)
    return y, cache, new if training else (running_mean, running_var)


def batch_norm_backward(dy, cache):
    x, mean, inv_std, w, b, training, slope = cache
    dy, sizes = contiguous(dy), _sizes(x)
    blocks = sizes[1] * sizes[3]
    parts = empty((blocks, 2), "float64")
    inputs = dy, x, mean, inv_std, w, b, parts, slope
    launch("gradient_parts", blocks, *inputs, *sizes)
    dx, dw, db = empty_like(x), empty_like(w), empty_like(b)
    launch("gradient", blocks, *inputs, dx, dw, db, int(training), *sizes)
    return dx, dw, db


def _sizes(x):
    """N, C, P and the number of parts per channel."""
    N, C = x.shape[:2]
    return N, C, x.size // (N * C), parts_per_channel(x)
