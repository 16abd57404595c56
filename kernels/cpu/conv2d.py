"""conv2d is a correlation; see convolution/correlate.py."""

from .convolution.algorithms import Geometry
from .convolution.correlate import correlate, correlate_gradients, prepare
from .convolution.layout import to_nchw, to_nhwc


def conv2d_forward(x, w, b, stride, padding):
    (N, _, *image), kernel_size = x.shape, w.shape[2:]
    sizes = zip(image, kernel_size, stride, padding, strict=True)
    grid = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    geometry = Geometry(tuple(image), grid, kernel_size, stride, padding)
    algorithm = prepare(N, w, geometry)
    x = to_nhwc(x)
    y = correlate(algorithm, x, b)
    cache = (algorithm, x, b is not None)
    return to_nchw(y), cache


def conv2d_backward(dy, cache, need_dx=True):
    algorithm, x, has_b = cache
    dx, dw, db = correlate_gradients(algorithm, x, to_nhwc(dy), need_dx)
    return to_nchw(dx) if need_dx else None, dw, db if has_b else None
