"""Max pooling: a thread per window in forward, a thread per pixel in backward."""

from . import contiguous, elementwise, empty, launch_each
from .windows import windows


def max_pool2d_forward(x, kernel_size, stride, padding):
    size = windows(x.shape[2:], kernel_size, stride, padding)
    sizes = *x.shape[2:], *size, *kernel_size, *stride, *padding
    y = empty((*x.shape[:2], *size), x.dtype)
    winner = empty(y.shape, "int32")
    launch_each("max_pool2d_forward", y.size, contiguous(x), *sizes, winner, y)
    return y, (winner, x.shape, sizes)


def max_pool2d_backward(dy, cache):
    winner, shape, sizes = cache
    return elementwise("max_pool2d_backward", dy, winner, *sizes, shape=shape)
