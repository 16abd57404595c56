"""Logistic sigmoid, element by element.

    y  = 1 / (1 + exp(-x))
    dx = dy y (1 - y)

exp(-x) overflows for large negative x. So the code never raises e to a positive power: with
e = exp(-|x|) it is 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, the same number.
"""

from ..backend import accelerated, array_module
from .checks import one_float_array


def sigmoid(x):
    """1 / (1 + exp(-x)) without overflow; complex-safe, hence the sign of the real part."""
    xp = array_module(x)
    positive = x.real >= 0
    e = xp.exp(xp.where(positive, -x, x))  # exp(-|x|)
    return xp.where(positive, 1, e) / (1 + e)


@accelerated(arguments=one_float_array)
def sigmoid_forward(x):
    """y, cache. x of any shape."""
    y = sigmoid(x)
    cache = (y,)
    return y, cache


@accelerated
def sigmoid_backward(dy, cache):
    """dx."""
    (y,) = cache
    return dy * y * (1 - y)
