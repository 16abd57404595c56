"""Leaky ReLU: a thread per element."""

from . import elementwise


def leaky_relu_forward(x, negative_slope):
    return elementwise("leaky_relu_forward", x, negative_slope), (x, negative_slope)


def leaky_relu_backward(dy, cache):
    return elementwise("leaky_relu_backward", dy, *cache)
