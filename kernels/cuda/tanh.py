"""tanh: a thread per element."""

from . import elementwise


def tanh_forward(x):
    y = elementwise("tanh_forward", x)
    return y, (y,)


def tanh_backward(dy, cache):
    return elementwise("tanh_backward", dy, *cache)
