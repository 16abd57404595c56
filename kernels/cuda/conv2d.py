"""conv2d as products that read windows out of the images: see convolution.cu."""

from . import contiguous
from .convolution import gather, paint, weight_gradient


def conv2d_forward(x, w, b, stride, padding):
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, strict=True)
    size = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    x, w = contiguous(x), contiguous(w)
    y = gather(x, w, b, size, stride, padding)
    cache = (x, w, b is not None, stride, padding)
    return y, cache


def conv2d_backward(dy, cache, need_dx=True):
    x, w, has_b, stride, padding = cache
    dy = contiguous(dy)
    dw, db = weight_gradient(dy, x, w.shape[2:], stride, padding, has_b)
    dx = paint(dy, w, None, x.shape[2:], stride, padding) if need_dx else None
    return dx, dw, db
