"""conv_transpose2d as matrix products that read the images directly; see convolution.cu."""

from . import contiguous
from .channels import channel_sums
from .convolution import gather, paint, weight_gradient


def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, output_padding, strict=True)
    size = tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)
    x, w = contiguous(x), contiguous(w)
    y = paint(x, w, b, size, stride, padding)
    return y, (x, w, b is not None, stride, padding)


def conv_transpose2d_backward(dy, cache, need_dx=True):
    x, w, has_b, stride, padding = cache
    dy = contiguous(dy)
    dw = weight_gradient(x, dy, w.shape[2:], stride, padding)
    db = channel_sums(dy) if has_b else None
    dx = gather(dy, w, None, x.shape[2:], stride, padding) if need_dx else None
    return dx, dw, db
