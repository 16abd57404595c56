"""ReLU: a thread per element."""

from . import elementwise


def relu_forward(x):
    y = elementwise("relu_forward", x)
    return y, (y,)


def relu_backward(dy, cache):
    return elementwise("relu_backward", dy, *cache)
