"""Average pooling: forward a thread for each window, backward one for each pixel."""

from . import blocks_for, contiguous, empty, launch
from .windows import window_sizes


def avg_pool2d_forward(x, kernel_size, stride, padding):
    sizes = _, _, OH, OW, *_ = window_sizes(x.shape[2:], kernel_size, stride, padding)
    x = contiguous(x)
    y = empty((*x.shape[:2], OH, OW), x.dtype)
    launch("avg_pool2d", "avg_pool2d_forward", blocks_for(y.size), x, y, y.size, *sizes)
    cache = (x.shape, sizes)
    return y, cache


def avg_pool2d_backward(dy, cache):
    shape, sizes = cache
    dy, dx = contiguous(dy), empty(shape, dy.dtype)
    launch("avg_pool2d", "avg_pool2d_backward", blocks_for(dx.size), dy, dx, dx.size, *sizes)
    return dx
