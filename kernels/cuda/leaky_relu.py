"""Leaky ReLU: a thread for each element."""

from .elements import elements


def leaky_relu_forward(x, negative_slope):
    y = elements("leaky_relu", "leaky_relu_forward", x, negative_slope)
    cache = (x, negative_slope)
    return y, cache


def leaky_relu_backward(dy, cache):
    x, negative_slope = cache
    return elements("leaky_relu", "leaky_relu_backward", dy, x, negative_slope)
