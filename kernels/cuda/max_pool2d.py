"""Max pooling: forward a thread for each window, backward one for each pixel."""

import numpy as np

from . import blocks_for, contiguous, empty, launch
from .windows import window_sizes


def max_pool2d_forward(x, kernel_size, stride, padding):
    sizes = _, _, OH, OW, *_ = window_sizes(x.shape[2:], kernel_size, stride, padding)
    x = contiguous(x)
    y = empty((*x.shape[:2], OH, OW), x.dtype)
    winner = empty(y.shape, np.int32)
    launch("max_pool2d", "max_pool2d_forward", blocks_for(y.size), x, y, winner, y.size, *sizes)
    cache = (winner, x.shape, sizes)
    return y, cache


def max_pool2d_backward(dy, cache):
    winner, shape, sizes = cache
    dy, dx = contiguous(dy), empty(shape, dy.dtype)
    arguments = dy, winner, dx, dx.size, *sizes
    launch("max_pool2d", "max_pool2d_backward", blocks_for(dx.size), *arguments)
    return dx
