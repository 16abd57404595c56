"""Max pooling with channels last in memory, without padded images."""

import numpy as np

from . import ZERO, jit
from .convolution.layout import to_nchw, to_nhwc
from .runtime.memory import empty, zeros
from .runtime.threads import share_rows


def max_pool2d_forward(x, kernel_size, stride, padding):
    N, C, H, W = x.shape
    OH = (H + 2 * padding[0] - kernel_size[0]) // stride[0] + 1
    OW = (W + 2 * padding[1] - kernel_size[1]) // stride[1] + 1
    x = to_nhwc(x)
    y, winner = empty((N, OH, OW, C), x.dtype), empty((N, OH, OW, C), np.int32)
    share_rows(_forward, x.size, (x, y, winner), *kernel_size, *stride, *padding)
    cache = (winner, x.shape, kernel_size, stride, padding)
    return to_nchw(y), cache


def max_pool2d_backward(dy, cache):
    winner, shape, *sizes = cache
    dy, dx = to_nhwc(dy), zeros(shape, dy.dtype)
    share_rows(_backward, dx.size, (dy, winner, dx), *sizes[0], *sizes[1], *sizes[2])
    return to_nchw(dx)


@jit
def _forward(x, y, winner, KH, KW, SH, SW, PH, PW):
    """winner: u*KW + v, the cell of the window."""
    N, H, W, C = x.shape
    OH, OW = y.shape[1:3]
    for n in range(N):
        for i in range(OH):
            top, bottom = max(i * SH - PH, 0), min(i * SH - PH + KH, H)
            for j in range(OW):
                left, right = max(j * SW - PW, 0), min(j * SW - PW + KW, W)
                best, at = y[n, i, j], winner[n, i, j]
                first = True
                for h in range(top, bottom):
                    for w in range(left, right):
                        cell = np.int32((h - i * SH + PH) * KW + w - j * SW + PW)
                        pixel = x[n, h, w]
                        if first:
                            first = False
                            for c in range(C):
                                best[c], at[c] = pixel[c], cell
                        else:
                            for c in range(C):
                                a, b = pixel[c], best[c]
                                # only a NaN differs from itself; the first NaN stays
                                better = (a > b) | ((a != a) & (b == b))
                                best[c] = a if better else b
                                at[c] = cell if better else at[c]


@jit
def _backward(dy, winner, dx, KH, KW, SH, SW, PH, PW):
    N, H, W, C = dx.shape
    OH, OW = dy.shape[1:3]
    for n in range(N):
        for i in range(OH):
            top, bottom = max(i * SH - PH, 0), min(i * SH - PH + KH, H)
            for j in range(OW):
                left, right = max(j * SW - PW, 0), min(j * SW - PW + KW, W)
                d, at = dy[n, i, j], winner[n, i, j]
                for h in range(top, bottom):
                    for w in range(left, right):
                        cell = (h - i * SH + PH) * KW + w - j * SW + PW
                        pixel = dx[n, h, w]
                        for c in range(C):
                            pixel[c] += d[c] if at[c] == cell else ZERO
