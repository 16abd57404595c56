"""Leaky rectified linear unit, element by element.

    y  = x   where x > 0, else negative_slope * x
    dx = dy  where x > 0, else negative_slope * dy

Source: Maas, Hannun & Ng, "Rectifier Nonlinearities Improve Neural Network Acoustic Models" (2013).
"""

from ..backend import accelerated, array_module
from .cases import Case, away_from_zero


def leaky_relu_arguments(x, negative_slope=0.01):
    """Make the slope a float."""
    return x, float(negative_slope)


@accelerated("x (...)", arguments=leaky_relu_arguments)
def leaky_relu_forward(x, negative_slope):
    """y, cache. x of any shape."""
    positive = x.real > 0
    y = array_module(x).where(positive, x, negative_slope * x)
    cache = (positive, negative_slope)
    return y, cache


@accelerated
def leaky_relu_backward(dy, cache):
    """dx."""
    positive, negative_slope = cache
    return array_module(dy).where(positive, dy, negative_slope * dy)


CASES = [Case({"x": (3, 4)}, {"negative_slope": 0.2}, draw={"x": away_from_zero})]
