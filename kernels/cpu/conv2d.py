"""conv2d as a correlation, in one of two ways: see correlation.py. With a leaky ReLU after it, if
it is asked for; a slope of 1 is none."""

from .convolution.algorithms import Geometry
from .convolution.correlate import correlate, correlate_gradients, prepare
from .convolution.layout import to_nchw, to_nhwc


def conv2d_forward(x, w, b, stride, padding):
    return _forward(x, w, b, stride, padding, 1.0)


def conv2d_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)


def _forward(x, w, b, stride, padding, slope):
    (N, _, *image), kernel_size = x.shape, w.shape[2:]
    sizes = zip(image, kernel_size, stride, padding, strict=True)
    grid = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    geometry = Geometry(tuple(image), grid, kernel_size, stride, padding)
    way = prepare(N, w, geometry)
    x = to_nhwc(x)
    y = correlate(way, x, b, slope)
    cache = (way, x, None if slope == 1 else y, b is not None, slope)
    return to_nchw(y), cache


def _backward(dy, cache, need_dx):
    way, x, y, has_b, slope = cache
    dy = to_nhwc(dy)
    y = dy if y is None else y
    dx, dw, db = correlate_gradients(way, x, y, dy, slope, need_dx)
    return dx if dx is None else to_nchw(dx), dw, db if has_b else None
