"""Leaky ReLU in one pass, without a mask: if the slope is positive, y has the sign of x."""

from functools import partial

from . import jit
from .runtime.memory import elements


def leaky_relu_forward(x, negative_slope):
    slope = x.dtype.type(negative_slope)
    y, fill = elements(partial(_forward, slope), x)
    fill()
    cache = (y if slope > 0 else x, slope)
    return y, cache


def leaky_relu_backward(dy, cache):
    sign, slope = cache
    dx, fill = elements(partial(_backward, slope), dy, sign)
    fill()
    return dx


@jit
def _forward(slope, x, y):
    for i in range(x.size):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@jit
def _backward(slope, dy, sign, dx):
    for i in range(dy.size):
        dx[i] = dy[i] if sign[i] > 0 else slope * dy[i]
