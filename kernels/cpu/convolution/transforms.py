"""Sparse matrices along both axes of images: the transforms of winograd.py and their transposes.

    transform         planes = H x W^T       from images x (N, H, W, C)
    transform_back    x = H^T planes W       its transpose

The matrices H (slots, height) and W (slots, width) act on each image and channel. `planes` is flat
memory laid out by the caller: the C numbers of image n, slots i and j, start at offset[i, j] +
n * step[i, j]. Between the two axes there is one buffer of W*C numbers, which fits the L1 cache.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from .. import jit
from ..runtime.memory import scratch

FOUR = 4  # how many terms of a sum are added at a time
_u = np.uint64


class SparseAxes(NamedTuple):
    h: tuple  # the matrix H as `terms` returns it
    w: tuple
    h_back: tuple  # H^T
    w_back: tuple
    offset: np.ndarray  # (slots of H, slots of W)
    step: np.ndarray
    layout: tuple  # (start, planes, rows, columns, distance of planes) of each stack
    size: int
    C: int
    none: tuple  # slots of H, slots of W, height, width without a term: they are zero

    @classmethod
    def of(cls, h, w, offset, step, layout, size, C, dtype):
        there = terms(h, dtype, by_row=True), terms(w, dtype, by_row=False)
        back = terms(h.T, dtype, by_row=True), terms(w.T, dtype, by_row=False)
        none = tuple(
            np.setdiff1d(np.arange(matrix.shape[0]), matrix.row) for matrix in (h, w, h.T, w.T)
        )
        return cls(*there, *back, offset.view(_u), step.view(_u), layout, size, C, none)

    def stacks(self, planes):
        """Views (planes, rows, columns) of planes of equal size."""
        for start, count, rows, columns, distance in self.layout:
            stack = planes[start : start + count * distance].reshape(count, distance)
            yield stack[:, : rows * columns].reshape(count, rows, columns)


class Triplets(NamedTuple):
    """A sparse matrix with value[k] at (row[k], column[k]), sorted by row, then column."""

    shape: tuple
    row: np.ndarray
    column: np.ndarray
    value: np.ndarray

    @property
    def T(self):
        return triplets(self.shape[::-1], [(self.column, self.row, self.value)])


def triplets(shape, pieces):
    """From pieces (rows, columns, values) that broadcast; zeros and columns outside are dropped."""
    pieces = [[a.ravel() for a in np.broadcast_arrays(*piece)] for piece in pieces]
    row, column, value = (np.concatenate(same) for same in zip(*pieces, strict=True))
    there = np.flatnonzero((column >= 0) & (column < shape[1]) & (value != 0))
    order = there[np.lexsort((column[there], row[there]))]
    return Triplets(shape, row[order], column[order], value[order])


def terms(matrix, dtype, by_row):
    """The matrix as groups of FOUR nonzeros: (rows, columns (groups, FOUR), factors likewise).

    A short row is padded with factors 0 for one of its own columns, so that a NaN does not reach
    other rows; an empty row reads column 0, and `transform` and `transform_back` set it to zero. A
    long row has several groups. With `by_row` they follow each other, and `rows` is the start of
    each row; else they come after the first groups of all rows, and `rows` is each group's row.
    """
    height = matrix.shape[0]
    first = np.searchsorted(matrix.row, np.arange(height + 1))  # of each row
    length = np.diff(first)
    starts = np.append(0, np.cumsum(np.maximum(1, -(-length // FOUR))))
    k = np.arange(len(matrix.row)) - first[matrix.row]  # of its row
    at = starts[matrix.row] + k // FOUR, k % FOUR

    rows = np.repeat(np.arange(height), np.diff(starts))
    columns, factors = np.zeros((starts[-1], FOUR), int), np.zeros((starts[-1], FOUR), dtype)
    group, lane = at
    columns[group[lane == 0]] = matrix.column[lane == 0, None]
    columns[at], factors[at] = matrix.column, matrix.value
    if by_row:
        rows = starts
    else:
        order = np.argsort(np.arange(len(rows)) > starts[rows], kind="stable")
        rows, columns, factors = rows[order], columns[order], factors[order]
    return rows.astype(np.uint64), columns.astype(np.uint64), factors


def transform(axes, x, planes):
    row = x.shape[2] * axes.C
    line = scratch((row,), x.dtype)
    args = axes.offset, axes.step, *axes.h, *axes.w
    _transform(x.reshape(-1), _u(len(x)), planes, *args, line, _u(row), _u(axes.C))
    rows, columns = axes.none[:2]
    if len(rows):
        _clear(planes, axes.offset[rows], axes.step[rows], len(x), axes.C)
    if len(columns):
        _clear(planes, axes.offset[:, columns], axes.step[:, columns], len(x), axes.C)


def _clear(planes, offset, step, N, C):
    for n in range(N):
        planes[(offset + _u(n) * step)[..., None] + np.arange(C, dtype=_u)] = 0


def transform_back(axes, planes, x):
    line = scratch((axes.offset.shape[1] * axes.C,), x.dtype)
    args = axes.offset, axes.step, *axes.h_back, *axes.w_back
    _transform_back(planes, x.reshape(-1), _u(len(x)), _u(x.shape[2]), *args, line, _u(axes.C))
    rows, columns = axes.none[2:]
    if len(rows):
        x[:, rows] = 0
    if len(columns):
        x[:, :, columns] = 0


# The loops below are short: C numbers. A fixed count of four terms is three times as fast as a
# variable one; inlining is twice as fast; unsigned indices avoid Numba's check for negative ones.


@njit(inline="always")
def _sum(out, at, source, where, base, factors, size, add):
    """out[at:] = or += sum over k of factors[k] * source[base + where[k] :], `size` numbers."""
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    s0, s1, s2, s3 = base + where[0], base + where[1], base + where[2], base + where[3]
    for c in range(size):
        first, last = (
            f0 * source[s0 + c] + f1 * source[s1 + c],
            f2 * source[s2 + c] + f3 * source[s3 + c],
        )
        if add:
            out[at + c] += first + last
        else:  # not 0 times the old content, which may be NaN: memory is reused
            out[at + c] = first + last


@jit
def _transform(x, N, planes, offset, step, starts, h, h_factors, rows, w, w_factors, line, row, C):
    slots_h, slots_w = offset.shape
    H, none = _u(x.size) // (N * row), _u(0)
    h, w = h * row, w * C
    for n in range(N):
        base = n * H * row
        for i in range(slots_h):
            for g in range(starts[i], starts[i + 1]):  # line (W, C) = row i of H times x
                _sum(line, none, x, h[g], base, h_factors[g], row, g > starts[i])
            for j in range(slots_w):  # planes[i] = W times line
                at = offset[i, j] + n * step[i, j]
                _sum(planes, at, line, w[j], none, w_factors[j], C, False)
            for g in range(slots_w, len(rows)):
                at = offset[i, rows[g]] + n * step[i, rows[g]]
                _sum(planes, at, line, w[g], none, w_factors[g], C, True)


@jit
def _transform_back(
    planes, x, N, W, offset, step, starts, h, h_factors, rows, w, w_factors, line, C
):
    H, slots_w = _u(len(starts) - 1), _u(offset.shape[1])
    where, none = np.empty(FOUR, np.uint64), _u(0)
    w = w * C
    for n in range(N):
        for i in range(H):
            for g in range(starts[i], starts[i + 1]):  # line (slots of W, C) = row i of H^T, planes
                for j in range(slots_w):
                    for k in range(FOUR):
                        where[k] = offset[h[g, k], j] + n * step[h[g, k], j]
                    _sum(line, j * C, planes, where, none, h_factors[g], C, g > starts[i])
            start = (n * H + i) * W
            for j in range(W):  # x[n, i] = W^T times line
                _sum(x, (start + j) * C, line, w[j], none, w_factors[j], C, False)
            for g in range(W, _u(len(rows))):
                _sum(x, (start + rows[g]) * C, line, w[g], none, w_factors[g], C, True)
