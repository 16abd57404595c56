"""Sigmoid: a thread for each element."""

from .elements import elements


def sigmoid_forward(x):
    y = elements("sigmoid", "sigmoid_forward", x)
    cache = (y,)
    return y, cache


def sigmoid_backward(dy, cache):
    (y,) = cache
    return elements("sigmoid", "sigmoid_backward", dy, y)
