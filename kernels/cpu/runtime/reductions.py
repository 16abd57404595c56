"""Sums over the rows of a matrix (M, C). CHUNK rows are added in the dtype of the data, with SIMD,
and the sums of the chunks in float64, because long sums in float32 lose digits."""

import numpy as np
from numba.extending import register_jitable

from .. import jit

CHUNK = 64
LANES = 64  # columns that fill the SIMD registers; with fewer, several rows are added at a time


@register_jitable
def wide(rows):
    """(M, C) -> (M/k, k*C), a view: k rows side by side, if there are few columns."""
    M, C = rows.shape
    k = 1
    while k * C < LANES and M % (2 * k) == 0:
        k *= 2
    return rows.reshape(M // k, k * C)


@jit
def sum_of_rows(rows):
    """(M, C) contiguous -> (C,)."""
    C, rows = rows.shape[1], wide(rows)
    M, width = rows.shape
    total, local = np.zeros(width), np.empty(width, rows.dtype)
    for start in range(0, M, CHUNK):
        local[:] = 0
        chunk = rows[start : start + CHUNK]
        for r in range(len(chunk)):
            row = chunk[r]
            for c in range(width):
                local[c] += row[c]
        for c in range(width):
            total[c] += local[c]
    for k in range(C, width, C):  # rows that `wide` put side by side
        for c in range(C):
            total[c] += total[k + c]
    return total[:C].astype(rows.dtype)
