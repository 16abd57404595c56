"""A fully connected layer and the leaky ReLU after it, as one op: the same numbers, fewer passes.

    y          = leaky_relu(linear(x, w, b))
    dx, dw, db = linear_backward(leaky_relu_backward(dy))

The formulas are those of linear.py and leaky_relu.py, and so is the code below: one after
the other. A slope of 0 is ReLU (but for 0 x infinity, which is NaN, and 0 in relu.py). A
kernel takes it while y, just computed, is in the cache.
"""

from ..backend import accelerated
from .checks import check_slope
from .leaky_relu import leaky_relu_backward, leaky_relu_forward
from .linear import linear_arguments, linear_backward, linear_forward


def linear_leaky_relu_arguments(x, w, b=None, negative_slope=0.01):
    """As linear's; the slope must not be negative, for its sign is that of y."""
    given = linear_arguments(x, w, b)
    return *given, check_slope(negative_slope)


@accelerated(arguments=linear_leaky_relu_arguments)
def linear_leaky_relu_forward(x, w, b, negative_slope):
    """y, cache, as linear_forward."""
    h, affine_cache = linear_forward.reference(x, w, b)
    y, relu_cache = leaky_relu_forward.reference(h, negative_slope)
    cache = (affine_cache, relu_cache)
    return y, cache


@accelerated
def linear_leaky_relu_backward(dy, cache, need_dx=True):
    """dx, dw, db, as linear_backward."""
    affine_cache, relu_cache = cache
    return linear_backward(leaky_relu_backward(dy, relu_cache), affine_cache, need_dx)
