"""Sums over windows of an image, and their transpose: average pooling, forward and backward.

    collect   y[n,i,j,c] = p[i] q[j] * sum of x[n,h,k,c] over the rows of window i, columns of j
    spread    x[n,h,k,c] = sum of p[i] q[j] y[n,i,j,c] over the windows (i,j) that hold (h,k)

The windows along an axis are a list of (first, last, weight). Channels are last in memory.
"""

import numpy as np

from . import ZERO, jit
from .convolution.layout import to_nchw, to_nhwc
from .runtime.memory import empty, zeros
from .runtime.threads import share_rows


def collect(x, rows, columns):
    """x (N, C, H, W) -> y (N, C, OH, OW) for OH windows in `rows` and OW in `columns`."""
    x = to_nhwc(x)
    y = empty((len(x), len(rows), len(columns), x.shape[3]), x.dtype)
    share_rows(_collect, x.size, (x, y), *_split(rows, x.dtype), *_split(columns, x.dtype))
    return to_nchw(y)


def spread(y, rows, columns, image_size):
    """y (N, C, OH, OW) -> x (N, C, H, W)."""
    y = to_nhwc(y)
    x = zeros((len(y), *image_size, y.shape[3]), y.dtype)
    share_rows(_spread, x.size, (y, x), *_split(rows, y.dtype), *_split(columns, y.dtype))
    return to_nchw(x)


def _split(windows, dtype):
    """(first, last) of every window, and the weights."""
    first, last, weight = zip(*windows, strict=True)
    ends = np.array([first, last], np.intp)
    return np.ascontiguousarray(ends.T), np.array(weight, dtype)


@jit
def _collect(x, y, rows, p, columns, q):
    N, OH, OW, C = y.shape
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                total, weight = y[n, i, j], p[i] * q[j]
                if C == 1:  # starting a loop over one channel would take longer than the sum
                    grey = ZERO * weight  # 0 of the dtype
                    for h in range(rows[i, 0], rows[i, 1]):
                        for k in range(columns[j, 0], columns[j, 1]):
                            grey += x[n, h, k, 0]
                    total[0] = weight * grey
                    continue
                total[:] = 0
                for h in range(rows[i, 0], rows[i, 1]):
                    for k in range(columns[j, 0], columns[j, 1]):
                        pixel = x[n, h, k]
                        for c in range(C):
                            total[c] += pixel[c]
                for c in range(C):
                    total[c] *= weight


@jit
def _spread(y, x, rows, p, columns, q):
    N, OH, OW, C = y.shape
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                value, weight = y[n, i, j], p[i] * q[j]
                for h in range(rows[i, 0], rows[i, 1]):
                    for k in range(columns[j, 0], columns[j, 1]):
                        if C == 1:
                            x[n, h, k, 0] += weight * value[0]
                            continue
                        pixel = x[n, h, k]
                        for c in range(C):
                            pixel[c] += weight * value[c]
