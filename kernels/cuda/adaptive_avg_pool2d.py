"""Adaptive average pooling: forward a thread for each window, backward one for each pixel."""

from . import blocks_for, contiguous, empty, launch


def adaptive_avg_pool2d_forward(x, output_size):
    x = contiguous(x)
    y = empty((*x.shape[:2], *output_size), x.dtype)
    row_share, column_share = (empty((size,), x.dtype) for size in output_size)
    sizes = *x.shape[2:], *output_size
    arguments = x, y, row_share, column_share, y.size, *sizes
    launch("adaptive_avg_pool2d", "adaptive_avg_pool2d_forward", blocks_for(y.size), *arguments)
    cache = (row_share, column_share, x.shape, sizes)
    return y, cache


def adaptive_avg_pool2d_backward(dy, cache):
    row_share, column_share, shape, sizes = cache
    dy, dx = contiguous(dy), empty(shape, dy.dtype)
    arguments = dy, row_share, column_share, dx, dx.size, *sizes
    launch("adaptive_avg_pool2d", "adaptive_avg_pool2d_backward", blocks_for(dx.size), *arguments)
    return dx
