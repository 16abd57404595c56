"""Patches of an image as rows of a matrix, so that a convolution becomes one product of BLAS.

    gather       x (N, H, W, C)  ->  rows (N*OH*OW, KH*KW*C)     what ops/windows.py calls windows
    scatter_add  rows  ->  x                                     its transpose, add_windows

Memory order is channels-last here: KW*C neighbours of a patch lie side by side and are copied in one
run. `to_nhwc` and `to_nchw` turn logically NCHW arrays over; an array that already has channels-last
memory behind its NCHW shape, as every conv kernel returns it, is turned over without a copy.
"""

import numpy as np

from . import jit


def to_nhwc(x):
    """(N, C, H, W) -> (N, H, W, C), contiguous."""
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def to_nchw(x):
    """(N, H, W, C) -> (N, C, H, W): a view."""
    return x.transpose(0, 3, 1, 2)


def gather(x, grid, kernel_size, stride, padding):
    """x (N, H, W, C) -> rows (N*OH*OW, KH*KW*C) for the grid (OH, OW) of patches."""
    (N, _, _, C), (OH, OW), (KH, KW) = x.shape, grid, kernel_size
    rows = np.empty((N, OH, OW, KH, KW * C), x.dtype)
    _gather(x.reshape(*x.shape[:2], -1), rows, C, *stride, *padding)
    return rows.reshape(N * OH * OW, KH * KW * C)


def scatter_add(rows, shape, grid, kernel_size, stride, padding):
    """rows (N*OH*OW, KH*KW*C) -> x of this shape (N, H, W, C): overlaps add, the border is lost."""
    (N, H, W, C), (KH, KW) = shape, kernel_size
    x = np.zeros((N, H, W * C), rows.dtype)
    _scatter_add(rows.reshape(N, *grid, KH, KW * C), x, C, *stride, *padding)
    return x.reshape(shape)


@jit
def _gather(x, rows, C, SH, SW, PH, PW):
    N, OH, OW, KH, run = rows.shape
    H, W = x.shape[1:]  # W counts floats: image width times C
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                start = (j * SW - PW) * C  # of the run in its image row; it may stick out
                first, last = max(0, -start), min(run, W - start)
                for u in range(KH):
                    h = i * SH - PH + u
                    row = rows[n, i, j, u]
                    if h < 0 or h >= H or first >= last:
                        row[:] = 0
                    else:
                        row[:first] = 0
                        row[first:last] = x[n, h, start + first : start + last]
                        row[last:] = 0


@jit
def _scatter_add(rows, x, C, SH, SW, PH, PW):
    N, OH, OW, KH, run = rows.shape
    H, W = x.shape[1:]
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                start = (j * SW - PW) * C
                first, last = max(0, -start), min(run, W - start)
                for u in range(KH):
                    h = i * SH - PH + u
                    if 0 <= h < H:
                        for k in range(first, last):
                            x[n, h, start + k] += rows[n, i, j, u, k]
