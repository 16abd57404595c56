"""conv_transpose2d over memory with the channels last: a correlation backwards, see correlation.py.

So its y is the large image, and its x the small one.
"""

import numpy as np

from .correlation import Geometry, correlate_back, correlate_back_gradients, prepare
from .patches import to_nchw, to_nhwc


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, _, *grid), kernel_size = x.shape, w.shape[2:]
    sizes = zip(grid, kernel_size, stride, padding, output_padding, strict=True)
    image = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    geometry = Geometry(image, tuple(grid), kernel_size, stride, padding)
    way = prepare(N, np.ascontiguousarray(w.transpose(1, 2, 3, 0)), geometry)
    x = to_nhwc(x)
    y = correlate_back(way, x, b)
    cache = (way, x, b is not None)
    return to_nchw(y), cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    way, x, has_b = cache
    dx, dw, db = correlate_back_gradients(way, x, to_nhwc(dy), need_dx)
    dw = dw.transpose(3, 0, 1, 2)  # (O, KH, KW, C) -> (C, O, KH, KW)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
