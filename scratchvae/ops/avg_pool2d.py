"""Average pooling.

    y[n,c,i,j]  = 1 / (KH KW) * sum over u,v of  x[n, c, i*SH + u - PH, j*SW + v - PW]
    dx[n,c,h,w] = 1 / (KH KW) * sum of dy[n,c,i,j] over the windows (i,j) that hold (h,w)

    x (N, C, H, W)  ->  y (N, C, OH, OW),  OH = floor((H + 2 PH - KH) / SH) + 1, OW likewise

Padding counts: x is 0 outside the image and the divisor stays KH KW (PyTorch's default,
count_include_pad=True).
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case
from .checks import pool2d_arguments
from .windows import add_windows, crop2d, grid_size, pad2d, windows


def avg_pool2d_naive(x, kernel_size, stride=None, padding=0):
    """The first formula in plain loops."""
    x, *sizes = pool2d_arguments(x, kernel_size, stride, padding)
    (KH, KW), (SH, SW), (PH, PW) = sizes
    N, C, H, W = x.shape
    OH, OW = grid_size((H, W), *sizes)
    y = array_module(x).zeros((N, C, OH, OW), x.dtype)
    for n, c, i, j in product(range(N), range(C), range(OH), range(OW)):
        for u, v in product(range(KH), range(KW)):
            h, w = i * SH + u - PH, j * SW + v - PW
            if 0 <= h < H and 0 <= w < W:
                y[n, c, i, j] += x[n, c, h, w] / (KH * KW)
    return y


@accelerated("x (N, C, H, W)", arguments=pool2d_arguments)
def avg_pool2d_forward(x, kernel_size, stride, padding):
    """y, cache: the formulas at the top of this file. Sizes: an int or a pair each."""
    x_padded = pad2d(x, padding)
    y = windows(x_padded, kernel_size, stride).mean(axis=(4, 5))  # (N, C, OH, OW)
    cache = (x_padded.shape[2:], kernel_size, stride, padding)
    return y, cache


@accelerated
def avg_pool2d_backward(dy, cache):
    """dx: each dy is divided evenly among the cells of its window."""
    padded_size, kernel_size, stride, padding = cache
    share = dy / (kernel_size[0] * kernel_size[1])  # (N, C, OH, OW)
    dcells = array_module(dy).broadcast_to(share[..., None, None], (*dy.shape, *kernel_size))
    return crop2d(add_windows(dcells, padded_size, stride), padding)


CASES = [
    Case({"x": (2, 3, 6, 5)}, {"kernel_size": (3, 2), "stride": 2, "padding": 1}, linear=("x",))
]
