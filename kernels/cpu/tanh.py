"""NumPy's tanh on all cores; backward in one pass."""

import numpy as np

from . import ONE, jit
from .runtime.memory import elements


def tanh_forward(x):
    y, fill = elements(np.tanh, x, cost=0.6)
    fill()
    cache = (y,)
    return y, cache


def tanh_backward(dy, cache):
    (y,) = cache
    dx, fill = elements(_backward, dy, y)
    fill()
    return dx


@jit
def _backward(dy, y, dx):
    for i in range(dy.size):
        dx[i] = dy[i] * (ONE - y[i] * y[i])
