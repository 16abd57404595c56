"""conv2d as products that read windows out of the images: see convolution.cu.

With a leaky ReLU after it, if it is asked for; a slope of 1 is none.
"""

from .convolution import forward, gather, paint, weight_gradient
from .elements import through_activation


def conv2d_forward(x, w, b, stride, padding):
    return _forward(x, w, b, stride, padding, 1.0)


def conv2d_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)


def _forward(x, w, b, stride, padding, slope):
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, strict=True)
    size = tuple((H + 2 * P - K) // S + 1 for H, K, S, P in sizes)
    return forward(gather, x, w, b, size, stride, padding, slope)


def _backward(dy, cache, need_dx):
    x, w, y, has_b, stride, padding, slope = cache
    dh = through_activation(dy, y, slope)
    dw, db = weight_gradient(dh, x, w.shape[2:], stride, padding, has_b)
    dx = paint(dh, w, None, x.shape[2:], stride, padding) if need_dx else None
    return dx, dw, db
