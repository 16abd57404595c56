"""conv2d over memory with the channels last: a correlation, see correlation.py."""

import numpy as np

from .correlation import Geometry, correlate, correlate_gradients, prepare
from .patches import to_nchw, to_nhwc


def conv2d_forward(x, w, b, stride, padding):
    (N, _, *image), kernel_size = x.shape, w.shape[2:]
    sizes = zip(image, kernel_size, stride, padding, strict=True)
    grid = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    geometry = Geometry(tuple(image), grid, kernel_size, stride, padding)
    way = prepare(N, np.ascontiguousarray(w.transpose(1, 2, 3, 0)), geometry)
    x = to_nhwc(x)
    y = correlate(way, x, b)
    cache = (way, x, b is not None)
    return to_nchw(y), cache


def conv2d_backward(dy, cache, need_dx=True):
    way, x, has_b = cache
    dx, dw, db = correlate_gradients(way, x, to_nhwc(dy), need_dx)
    dw = dw.transpose(3, 0, 1, 2)  # (C, KH, KW, O) -> (O, C, KH, KW)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
