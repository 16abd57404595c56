"""conv_transpose2d as products that read windows out of the images: see convolution.cu.

With a leaky ReLU after it, if it is asked for; a slope of 1 is none.
"""

from .channels import channel_sums
from .convolution import forward, gather, paint, weight_gradient
from .elements import through_activation


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    return _forward(x, w, b, stride, padding, output_padding, 1.0)


def conv_transpose2d_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)


def _forward(x, w, b, stride, padding, output_padding, slope):
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, output_padding, strict=True)
    size = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    return forward(paint, x, w, b, size, stride, padding, slope)


def _backward(dy, cache, need_dx):
    x, w, y, has_b, stride, padding, slope = cache
    dh = through_activation(dy, y, slope)
    dw, _ = weight_gradient(x, dh, w.shape[2:], stride, padding)
    db = channel_sums(dh) if has_b else None
    dx = gather(dh, w, None, x.shape[2:], stride, padding) if need_dx else None
    return dx, dw, db
