"""Transposed convolution: conv2d's backward pass, used as a forward pass to grow an image.

Every input pixel paints a copy of w, scaled by its value, SH x SW apart; where copies overlap they
add. The canvas is cropped by PH rows and PW columns on each side; output padding keeps OPH rows and
OPW columns more at the bottom and on the right.

    y[n,o,h,k]  = b[o] + sum over all c,i,j,u,v that paint (h,k) of  x[n,c,i,j] w[c,o,u,v]
                  x[n,c,i,j] w[c,o,u,v] is painted at h = i*SH + u - PH, k = j*SW + v - PW

    db[o]       = sum over n,h,k of  dy[n,o,h,k]
    dw[c,o,u,v] = sum over n,i,j of  x[n,c,i,j] dy[n, o, i*SH + u - PH, j*SW + v - PW]
    dx[n,c,i,j] = sum over o,u,v of  w[c,o,u,v] dy[n, o, i*SH + u - PH, j*SW + v - PW]

    x (N, C, H, W), w (C, O, KH, KW), b (O,) or None  ->  y (N, O, OH, OW)
    OH = (H - 1) SH - 2 PH + KH + OPH, OW likewise; dy is 0 outside the image

conv2d maps several input sizes to one output size; the output padding OP < S chooses among them.
dx and dw read zeros outside dy, and 0 x infinity is NaN: see conv2d.py for the consequences.
Derivation: docs/backward.md.
Source: Dumoulin & Visin, "A guide to convolution arithmetic" (arXiv:1603.07285), section 4.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case
from .checks import pair
from .windows import add_windows, crop2d, pad2d, windows


def conv_transpose2d_arguments(x, w, b=None, stride=1, padding=0, output_padding=0):
    """Make stride, padding and output_padding pairs; check that y is not empty."""
    stride, padding = pair("stride", stride, 1), pair("padding", padding, 0)
    output_padding = pair("output_padding", output_padding, 0)
    if output_padding[0] >= stride[0] or output_padding[1] >= stride[1]:
        raise ValueError(f"output_padding {output_padding} must be smaller than stride {stride}")
    OH, OW = output_size(x, w, stride, padding, output_padding)
    if OH < 1 or OW < 1:
        raise ValueError(f"y would be empty: padding {padding} leaves an output of {OH} x {OW}")
    return x, w, b, stride, padding, output_padding


def output_size(x, w, stride, padding, output_padding):
    """(OH, OW) of the formula above."""
    sizes = zip(x.shape[2:], w.shape[2:], stride, padding, output_padding, strict=True)
    return tuple((H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes)


def conv_transpose2d_naive(x, w, b=None, stride=1, padding=0, output_padding=0):
    """The first formula in plain loops: each pixel paints its copy of w."""
    arguments = conv_transpose2d_arguments(x, w, b, stride, padding, output_padding)
    x, w, b, (SH, SW), (PH, PW), _ = arguments
    (N, C, H, W), (_, O, KH, KW) = x.shape, w.shape
    OH, OW = output_size(x, w, *arguments[3:])
    y = array_module(x).zeros((N, O, OH, OW), x.dtype)
    for n, c, i, j in product(range(N), range(C), range(H), range(W)):
        for o, u, v in product(range(O), range(KH), range(KW)):
            h, k = i * SH + u - PH, j * SW + v - PW
            if 0 <= h < OH and 0 <= k < OW:
                y[n, o, h, k] += x[n, c, i, j] * w[c, o, u, v]
    return y if b is None else y + b[:, None, None]


@accelerated(
    "x (N, C, H, W), w (C, O, KH, KW), b (O) or None", arguments=conv_transpose2d_arguments
)
def conv_transpose2d_forward(x, w, b, stride, padding, output_padding):
    """y, cache: the formulas at the top of this file. Sizes: an int or a pair each."""
    xp = array_module(x)
    OH, OW = output_size(x, w, stride, padding, output_padding)
    canvas = (OH + 2 * padding[0], OW + 2 * padding[1])
    cells = xp.tensordot(x, w, axes=(1, 0))  # (N, H, W, O, KH, KW)
    cells = xp.moveaxis(cells, 3, 1)  # (N, O, H, W, KH, KW)
    y = crop2d(add_windows(cells, canvas, stride), padding)  # (N, O, OH, OW)
    if b is not None:
        y = y + b[:, None, None]
    cache = (x, w, b is not None, stride, padding)
    return y, cache


@accelerated
def conv_transpose2d_backward(dy, cache, need_dx=True):
    """dx, dw, db. dx is None if not need_dx (a first layer needs none), db is None if b was."""
    x, w, has_b, stride, padding = cache
    xp = array_module(dy)
    dcells = windows(pad2d(dy, padding), w.shape[2:], stride)  # (N, O, H, W, KH, KW)
    dw = xp.tensordot(x, dcells, axes=((0, 2, 3), (0, 2, 3)))  # (C, O, KH, KW)
    db = dy.sum(axis=(0, 2, 3)) if has_b else None  # (O,)
    if not need_dx:
        return None, dw, db
    dx = xp.tensordot(dcells, w, axes=((1, 4, 5), (1, 2, 3)))  # (N, H, W, C)
    return xp.moveaxis(dx, 3, 1), dw, db  # (N, C, H, W)


CASES = [
    Case(
        {"x": (2, 3, 3, 4), "w": (3, 4, 3, 2), "b": (4,)},
        {"stride": (3, 2), "padding": (1, 0), "output_padding": (2, 1)},
        linear=("x", "w", "b"),
    ),
    Case({"x": (2, 3, 3, 4), "w": (3, 4, 2, 2)}, linear=("x", "w"), variant="no bias"),
]
