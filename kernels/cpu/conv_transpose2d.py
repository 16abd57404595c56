"""conv_transpose2d as a correlation backwards: its y is the large image, its x the small one. See
correlation.py."""

from .correlation import correlate_back, correlate_back_gradients, prepare, turned_weights
from .layout import to_nhwc
from .ways import Geometry


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, _, *grid), kernel_size = x.shape, w.shape[2:]
    sizes = zip(grid, kernel_size, stride, padding, output_padding, strict=True)
    image = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    geometry = Geometry(image, tuple(grid), kernel_size, stride, padding)
    way = prepare(N, turned_weights(w), geometry)
    x = to_nhwc(x)
    y = correlate_back(way, x, b)
    cache = (way, x, b is not None)
    return y, cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    way, x, has_b = cache
    dx, dw, db = correlate_back_gradients(way, x, way.large(dy), need_dx)
    return dx, dw, db if has_b else None
