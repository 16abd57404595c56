"""Sigmoid without masks; the exponential is NumPy's, which uses SIMD."""

import numpy as np

from . import ONE, jit
from .runtime.memory import elements


def sigmoid_forward(x):
    y, fill = elements(_sigmoid, x, cost=1)
    fill()
    cache = (y,)
    return y, cache


def sigmoid_backward(dy, cache):
    (y,) = cache
    dx, fill = elements(_backward, dy, y)
    fill()
    return dx


def _sigmoid(x, y):
    np.abs(x, out=y)
    np.negative(y, out=y)
    np.exp(y, out=y)  # exp(-|x|)
    _from_exp(x, y)


@jit
def _from_exp(x, y):
    for i in range(x.size):
        y[i] = (ONE if x[i] >= 0 else y[i]) / (ONE + y[i])


@jit
def _backward(dy, y, dx):
    for i in range(dy.size):
        dx[i] = dy[i] * y[i] * (ONE - y[i])
