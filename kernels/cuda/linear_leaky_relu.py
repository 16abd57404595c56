"""linear and the leaky ReLU after it, taken with the bias."""

from .linear import _backward, _forward


def linear_leaky_relu_forward(x, w, b, negative_slope):
    return _forward(x, w, b, negative_slope)


def linear_leaky_relu_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)
