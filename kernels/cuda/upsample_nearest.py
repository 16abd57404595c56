"""Nearest-neighbour upsampling is backward of average pooling with divisor 1, and vice versa."""

from . import elementwise


def upsample_nearest_forward(x, scale_factor):
    N, C, H, W = x.shape
    size = H * scale_factor[0], W * scale_factor[1]
    arguments = *size, H, W, *scale_factor, *scale_factor, 0, 0, 1.0
    y = elementwise("avg_pool2d_backward", x, *arguments, shape=(N, C, *size))
    return y, (x.shape, arguments)


def upsample_nearest_backward(dy, cache):
    shape, arguments = cache
    return elementwise("avg_pool2d_forward", dy, *arguments, shape=shape)
