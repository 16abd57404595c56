"""conv_transpose2d as a correlation backwards: its y is the large image, its x the small one. See
correlation.py. With a leaky ReLU after it, if it is asked for; a slope of 1 is none."""

from .convolution.algorithms import Geometry
from .convolution.correlate import correlate_back, correlate_back_gradients, prepare
from .convolution.layout import to_nchw, to_nhwc


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    return _forward(x, w, b, stride, padding, output_padding, 1.0)


def conv_transpose2d_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)


def _forward(x, w, b, stride, padding, output_padding, slope):
    (N, _, *grid), kernel_size = x.shape, w.shape[2:]
    sizes = zip(grid, kernel_size, stride, padding, output_padding, strict=True)
    image = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    geometry = Geometry(image, tuple(grid), kernel_size, stride, padding)
    way = prepare(N, w, geometry)
    x = to_nhwc(x)
    y = correlate_back(way, x, b, slope)
    cache = (way, x, None if slope == 1 else y, b is not None, slope)
    return to_nchw(y), cache


def _backward(dy, cache, need_dx):
    way, x, y, has_b, slope = cache
    dy = to_nhwc(dy)
    y = dy if y is None else y
    dx, dw, db = correlate_back_gradients(way, x, y, dy, slope, need_dx)
    return dx if dx is None else to_nchw(dx), dw, db if has_b else None
