"""Convolution and the leaky ReLU after it, as one op: the same numbers, fewer passes.

    y          = leaky_relu(conv2d(x, w, b))
    dx, dw, db = conv2d_backward(leaky_relu_backward(dy))

The formulas are those of conv2d.py and leaky_relu.py, and so is the code below: one after
the other. A slope of 0 is ReLU (but for 0 x infinity, which is NaN, and 0 in relu.py). A
kernel takes it while y, just computed, is in the cache.
"""

from ..backend import accelerated
from .checks import check_slope
from .conv2d import conv2d_arguments, conv2d_backward, conv2d_forward
from .leaky_relu import leaky_relu_backward, leaky_relu_forward


def conv2d_leaky_relu_arguments(x, w, b=None, stride=1, padding=0, negative_slope=0.01):
    """As conv2d's; the slope must not be negative, for its sign is that of y."""
    given = conv2d_arguments(x, w, b, stride, padding)
    return *given, check_slope(negative_slope)


@accelerated(arguments=conv2d_leaky_relu_arguments)
def conv2d_leaky_relu_forward(x, w, b, stride, padding, negative_slope):
    """y, cache, as conv2d_forward."""
    h, affine_cache = conv2d_forward.reference(x, w, b, stride, padding)
    y, relu_cache = leaky_relu_forward.reference(h, negative_slope)
    cache = (affine_cache, relu_cache)
    return y, cache


@accelerated
def conv2d_leaky_relu_backward(dy, cache, need_dx=True):
    """dx, dw, db, as conv2d_backward."""
    affine_cache, relu_cache = cache
    return conv2d_backward(leaky_relu_backward(dy, relu_cache), affine_cache, need_dx)
