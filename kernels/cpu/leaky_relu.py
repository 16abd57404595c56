"""Leaky ReLU in one pass forward and one backward, without a mask: where the slope is positive, y
has the sign of x."""

from . import jit
from .runtime.elementwise import elements


def leaky_relu_forward(x, negative_slope):
    slope = x.dtype.type(negative_slope)
    y = elements(_forward, x, slope)
    cache = (y if slope > 0 else x, slope)
    return y, cache


def leaky_relu_backward(dy, cache):
    sign, slope = cache
    return elements(_backward, dy, sign, slope)


@jit
def _forward(x, slope, y):
    for i in range(x.size):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@jit
def _backward(dy, sign, slope, dx):
    for i in range(dy.size):
        dx[i] = dy[i] if sign[i] > 0 else slope * dy[i]
