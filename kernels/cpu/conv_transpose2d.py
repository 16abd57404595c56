"""conv_transpose2d is a correlation's transpose, with a large y; see convolution/correlate.py."""

from .convolution.algorithms import Geometry
from .convolution.correlate import correlate_back, correlate_back_gradients, prepare
from .convolution.layout import to_nchw, to_nhwc


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    (N, _, *grid), kernel_size = x.shape, w.shape[2:]
    sizes = zip(grid, kernel_size, stride, padding, output_padding, strict=True)
    image = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    geometry = Geometry(image, tuple(grid), kernel_size, stride, padding)
    algorithm = prepare(N, w, geometry)
    x = to_nhwc(x)
    y = correlate_back(algorithm, x, b)
    cache = (algorithm, x, b is not None)
    return to_nchw(y), cache


def conv_transpose2d_backward(dy, cache, need_dx=True):
    algorithm, x, has_b = cache
    dx, dw, db = correlate_back_gradients(algorithm, x, to_nhwc(dy), need_dx)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
