"""Sums over the rows of a matrix (M, C): one for each channel, or feature.

Sums over a long batch lose digits in float32. So a kernel adds CHUNK rows at a time in the dtype of
the data, with SIMD, and the sums of the chunks in float64.
"""

import numpy as np

from .. import jit
from .memory import empty

CHUNK = 64
LANES = 64  # columns at least, to fill the SIMD registers: fewer are taken several rows at a time


def wide(rows):
    """(M, C) -> (M/k, k*C), a view: k rows side by side, if there are few columns."""
    M, C = rows.shape
    k = 1
    while k * C < LANES and M % (2 * k) == 0:
        k *= 2
    return rows.reshape(M // k, k * C)


def sum_of_rows(rows):
    """(M, C) contiguous -> (C,)."""
    many = wide(rows)
    total = np.zeros(many.shape[1])
    _sum(many, total, np.empty(many.shape[1], rows.dtype))
    return total.reshape(-1, rows.shape[1]).sum(axis=0).astype(rows.dtype)


def finish_rows(rows, b, slope):
    """Add b (C,), unless it is None, to each row, and take the leaky ReLU; a slope of 1 is none."""
    if slope != 1:
        C = rows.shape[1]
        b = np.zeros(C, rows.dtype) if b is None else b
        many = wide(rows) if rows.flags.c_contiguous else rows
        _add_and_activate(many, np.tile(b, many.shape[1] // C), rows.dtype.type(slope))
    elif b is not None:
        rows += b


def through_activation(dy, y, slope, dh=None):
    """Back through the leaky ReLU that y came out of: dh, and its sum over the rows. With a slope
    of 1 there was none, and dh is dy."""
    if slope == 1:
        return dy, sum_of_rows(dy)
    dh = empty(dy.shape, dy.dtype) if dh is None else dh
    wide_dh = wide(dh)
    total = np.zeros(wide_dh.shape[1])
    room = np.empty(wide_dh.shape[1], dy.dtype)
    _mask_and_sum(wide(dy), wide(y), dy.dtype.type(slope), wide_dh, total, room)
    return dh, total.reshape(-1, dy.shape[1]).sum(axis=0).astype(dy.dtype)


@jit
def _add_and_activate(rows, b, slope):
    for r in range(len(rows)):
        row = rows[r]
        for c in range(row.size):
            h = row[c] + b[c]
            row[c] = h if h > 0 else slope * h


@jit
def _sum(rows, total, local):
    M, C = rows.shape
    for start in range(0, M, CHUNK):
        local[:] = 0
        chunk = rows[start : start + CHUNK]
        for r in range(len(chunk)):
            row = chunk[r]
            for c in range(C):
                local[c] += row[c]
        for c in range(C):
            total[c] += local[c]


@jit
def _mask_and_sum(dy, y, slope, dh, total, local):
    M, C = dy.shape
    for start in range(0, M, CHUNK):
        local[:] = 0
        for r in range(start, min(start + CHUNK, M)):
            dy_row, y_row, dh_row = dy[r], y[r], dh[r]
            for c in range(C):
                dh_row[c] = dy_row[c] if y_row[c] > 0 else slope * dy_row[c]
                local[c] += dh_row[c]
        for c in range(C):
            total[c] += local[c]
