"""Logistic sigmoid, element by element.

    y  = 1 / (1 + exp(-x))
    dx = dy y (1 - y)

exp(-x) overflows for large negative x, so the code takes exp of negative numbers only: with
e = exp(-|x|), y is 1 / (1 + e) for x >= 0 and e / (1 + e) for x < 0, which is the same number.
"""

from ..backend import accelerated, array_module
from .cases import Case


@accelerated("x (...)")
def sigmoid_forward(x):
    """y, cache. x of any shape."""
    xp = array_module(x)
    positive = x.real >= 0  # instead of abs, for the complex step
    e = xp.exp(xp.where(positive, -x, x))  # exp(-|x|)
    y = xp.where(positive, 1, e) / (1 + e)
    cache = (y,)
    return y, cache


@accelerated
def sigmoid_backward(dy, cache):
    """dx."""
    (y,) = cache
    return dy * y * (1 - y)


CASES = [Case({"x": (3, 4)})]
