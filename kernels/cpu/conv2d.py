"""conv2d as a correlation, in one of three ways: see correlation.py."""

from .correlation import correlate, correlate_gradients, prepare, turned_weights
from .layout import to_nhwc
from .ways import Geometry


def conv2d_forward(x, w, b, stride, padding):
    (N, _, *image), kernel_size = x.shape, w.shape[2:]
    sizes = zip(image, kernel_size, stride, padding, strict=True)
    grid = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    geometry = Geometry(tuple(image), grid, kernel_size, stride, padding)
    way = prepare(N, turned_weights(w), geometry)
    x = way.large(x)
    y = correlate(way, x, b)
    cache = (way, x, b is not None)
    return y, cache


def conv2d_backward(dy, cache, need_dx=True):
    way, x, has_b = cache
    dx, dw, db = correlate_gradients(way, x, to_nhwc(dy), need_dx)
    return dx, dw, db if has_b else None
