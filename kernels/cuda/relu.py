"""ReLU: a thread for each element."""

from .elements import elements


def relu_forward(x):
    y = elements("relu", "relu_forward", x)
    cache = (y,)
    return y, cache


def relu_backward(dy, cache):
    (y,) = cache
    return elements("relu", "relu_backward", dy, y)
