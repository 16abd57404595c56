"""conv2d as matrix products that read windows directly from the images; see convolution.cu."""

from . import contiguous
from .channels import channel_sums
from .convolution import gather, paint, weight_gradient
from .windows import windows


def conv2d_forward(x, w, b, stride, padding):
    x, w, size = contiguous(x), contiguous(w), windows(x.shape[2:], w.shape[2:], stride, padding)
    y = gather(x, w, b, size, stride, padding)
    return y, (x, w, b is not None, stride, padding)


def conv2d_backward(dy, cache, need_dx=True):
    x, w, has_b, stride, padding = cache
    dy = contiguous(dy)
    dw = weight_gradient(dy, x, w.shape[2:], stride, padding)
    db = channel_sums(dy) if has_b else None
    dx = paint(dy, w, None, x.shape[2:], stride, padding) if need_dx else None
    return dx, dw, db
