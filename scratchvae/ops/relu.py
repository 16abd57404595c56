"""Rectified linear unit, element by element.

    y  = max(x, 0)
    dx = dy where y > 0, else 0

The slope at the kink x = 0 is taken as 0, and so is the slope where x is NaN (PyTorch: 1 for NaN).
"""

from ..backend import accelerated, array_module
from .cases import Case, away_from_zero


@accelerated("x (...)")
def relu_forward(x):
    """y, cache. x of any shape. NaN stays NaN."""
    y = array_module(x).where(x.real <= 0, 0, x)  # x <= 0 is false for NaN, so that NaN stays
    cache = (y,)
    return y, cache


@accelerated
def relu_backward(dy, cache):
    """dx."""
    (y,) = cache
    return array_module(dy).where(y > 0, dy, 0)


CASES = [Case({"x": (3, 4)}, draw={"x": away_from_zero})]
