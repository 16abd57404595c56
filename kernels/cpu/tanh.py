"""tanh is NumPy's, on all cores; its backward takes one pass."""

import numpy as np

from . import elementwise
from .elements import elements


def tanh_forward(x):
    y = elements(np.tanh, x)
    cache = (y,)
    return y, cache


def tanh_backward(dy, cache):
    (y,) = cache
    return elements(_backward, dy, y)


@elementwise
def _backward(dy, y):
    return dy * (1 - y * y)
