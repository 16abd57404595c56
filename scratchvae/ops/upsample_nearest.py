"""Nearest-neighbour upsampling: every pixel becomes a block of SH x SW.

    y[n,c,h,k]  = x[n, c, floor(h / SH), floor(k / SW)]
    dx[n,c,i,j] = sum of dy over the block of pixel (i,j)

    x (N, C, H, W)  ->  y (N, C, H SH, W SW)

There are no weights: forward copies, backward sums.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case
from .checks import pair


def upsample_nearest_arguments(x, scale_factor):
    """Make scale_factor a pair."""
    return x, pair("scale_factor", scale_factor, 1)


def upsample_nearest_naive(x, scale_factor):
    """The first formula in plain loops."""
    x, (SH, SW) = upsample_nearest_arguments(x, scale_factor)
    N, C, H, W = x.shape
    y = array_module(x).empty((N, C, H * SH, W * SW), x.dtype)
    for n, c, h, w in product(range(N), range(C), range(H * SH), range(W * SW)):
        y[n, c, h, w] = x[n, c, h // SH, w // SW]
    return y


@accelerated("x (N, C, H, W)", arguments=upsample_nearest_arguments)
def upsample_nearest_forward(x, scale_factor):
    """y, cache: the formulas at the top of this file. scale_factor: an int or a pair of ints."""
    SH, SW = scale_factor
    y = x.repeat(SH, axis=2).repeat(SW, axis=3)  # (N, C, H*SH, W*SW)
    cache = (x.shape, scale_factor)
    return y, cache


@accelerated
def upsample_nearest_backward(dy, cache):
    """dx: the sum of each block."""
    (N, C, H, W), (SH, SW) = cache
    return dy.reshape(N, C, H, SH, W, SW).sum(axis=(3, 5))


CASES = [Case({"x": (2, 3, 6, 5)}, {"scale_factor": (2, 3)}, linear=("x",))]
