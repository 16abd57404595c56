"""ReLU's backward in one pass. NumPy's `where` makes a mask first, and then goes without SIMD."""

import numpy as np

from . import elementwise
from .elements import elements


def relu_forward(x):
    y = elements(np.maximum, x, x.dtype.type(0))
    cache = (y,)
    return y, cache


def relu_backward(dy, cache):
    (y,) = cache
    return elements(_backward, dy, y)


@elementwise
def _backward(dy, y):
    return dy if y > 0 else 0
