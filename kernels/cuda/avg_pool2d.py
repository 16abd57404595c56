"""Average pooling: a thread per window in forward, a thread per pixel in backward."""

from . import elementwise
from .windows import windows


def avg_pool2d_forward(x, kernel_size, stride, padding):
    size = windows(x.shape[2:], kernel_size, stride, padding)
    divisor = float(kernel_size[0] * kernel_size[1])
    arguments = *x.shape[2:], *size, *kernel_size, *stride, *padding, divisor
    y = elementwise("avg_pool2d_forward", x, *arguments, shape=(*x.shape[:2], *size))
    return y, (x.shape, arguments)


def avg_pool2d_backward(dy, cache):
    shape, arguments = cache
    return elementwise("avg_pool2d_backward", dy, *arguments, shape=shape)
