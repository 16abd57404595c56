"""Convolution (a cross-correlation, as in every deep-learning library).

    y[n,o,i,j]  = b[o] + sum over c,u,v of  w[o,c,u,v] x[n, c, i*SH + u - PH, j*SW + v - PW]

    db[o]       = sum over n,i,j of  dy[n,o,i,j]
    dw[o,c,u,v] = sum over n,i,j of  dy[n,o,i,j] x[n, c, i*SH + u - PH, j*SW + v - PW]
    dx[n,c,h,k] = sum over all o,i,j,u,v that read x[n,c,h,k] of  w[o,c,u,v] dy[n,o,i,j]

    x (N, C, H, W), w (O, C, KH, KW), b (O,) or None  ->  y (N, O, OH, OW)
    OH = floor((H + 2 PH - KH) / SH) + 1, OW likewise; x is 0 outside the image

In words: cut x into windows and multiply each by w. Backward: multiply dy by w and add the windows
back. That makes dx the transposed convolution of dy: compare conv_transpose2d_forward.

The zeros of the padding are multiplied too, and 0 x infinity is NaN. At the border, a w that is not
finite therefore makes y NaN, and a dy that is not finite makes dw NaN, as in PyTorch's own kernels.
PyTorch's oneDNN kernels and `conv2d_naive` skip these products; dx includes them only on a GPU. A
Winograd kernel spreads a NaN or infinity over a whole tile of y and dx.
Derivation: docs/backward.md.
Source: Dumoulin & Visin, "A guide to convolution arithmetic" (arXiv:1603.07285), sections 2 and 4.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case
from .checks import check_window_fits, pair
from .windows import add_windows, crop2d, grid_size, pad2d, windows


def conv2d_arguments(x, w, b=None, stride=1, padding=0):
    """Make stride and padding pairs; check that a window fits into the padded image."""
    stride, padding = pair("stride", stride, 1), pair("padding", padding, 0)
    check_window_fits(x, w.shape[2:], padding)
    return x, w, b, stride, padding


def conv2d_naive(x, w, b=None, stride=1, padding=0):
    """The first formula in plain loops."""
    x, w, b, stride, padding = conv2d_arguments(x, w, b, stride, padding)
    (SH, SW), (PH, PW) = stride, padding
    (N, C, H, W), (O, _, KH, KW) = x.shape, w.shape
    OH, OW = grid_size((H, W), (KH, KW), stride, padding)
    y = array_module(x).zeros((N, O, OH, OW), x.dtype)
    for n, o, i, j in product(range(N), range(O), range(OH), range(OW)):
        if b is not None:
            y[n, o, i, j] = b[o]
        for c, u, v in product(range(C), range(KH), range(KW)):
            h, k = i * SH + u - PH, j * SW + v - PW
            if 0 <= h < H and 0 <= k < W:
                y[n, o, i, j] += w[o, c, u, v] * x[n, c, h, k]
    return y


@accelerated("x (N, C, H, W), w (O, C, KH, KW), b (O) or None", arguments=conv2d_arguments)
def conv2d_forward(x, w, b, stride, padding):
    """y, cache: the formulas at the top of this file. stride, padding: an int or a pair."""
    xp = array_module(x)
    cells = windows(pad2d(x, padding), w.shape[2:], stride)  # (N, C, OH, OW, KH, KW)
    y = xp.tensordot(cells, w, axes=((1, 4, 5), (1, 2, 3)))  # (N, OH, OW, O)
    y = xp.moveaxis(y, 3, 1)  # (N, O, OH, OW)
    if b is not None:
        y = y + b[:, None, None]
    cache = (x, w, b is not None, stride, padding)
    return y, cache


@accelerated
def conv2d_backward(dy, cache, need_dx=True):
    """dx, dw, db. dx is None if not need_dx (a first layer needs none), db is None if b was."""
    x, w, has_b, stride, padding = cache
    xp = array_module(dy)
    x_padded = pad2d(x, padding)
    cells = windows(x_padded, w.shape[2:], stride)  # (N, C, OH, OW, KH, KW)
    dw = xp.tensordot(dy, cells, axes=((0, 2, 3), (0, 2, 3)))  # (O, C, KH, KW)
    db = dy.sum(axis=(0, 2, 3)) if has_b else None  # (O,)
    if not need_dx:
        return None, dw, db
    dcells = xp.tensordot(dy, w, axes=(1, 0))  # (N, OH, OW, C, KH, KW)
    dcells = xp.moveaxis(dcells, 3, 1)  # (N, C, OH, OW, KH, KW)
    dx = crop2d(add_windows(dcells, x_padded.shape[2:], stride), padding)  # (N, C, H, W)
    return dx, dw, db


CASES = [
    Case(
        {"x": (2, 3, 6, 5), "w": (4, 3, 3, 2), "b": (4,)},
        {"stride": (2, 1), "padding": (1, 2)},
        linear=("x", "w", "b"),
    ),
    Case({"x": (2, 3, 6, 5), "w": (4, 3, 2, 2)}, linear=("x", "w"), variant="no bias"),
]
