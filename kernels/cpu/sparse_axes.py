"""Sparse matrices along both axes of images: the transforms of toom_cook.py and their transposes.

    spread    planes = H x W^T       from images x (N, H, W, C)
    collect   x = H^T planes W       its transpose

The matrices H (slots, height) and W (slots, width) act on each image and channel. `planes` is flat
memory laid out by the caller: the C numbers of image n, slots i and j, start at place[i, j] +
n * step[i, j]. One row of W*C numbers, which fits into the L1 cache, is between the two axes.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from . import jit
from .memory import empty

FOUR = 4  # terms of a sum that are added at a time
_u = np.uint64


class SparseAxes(NamedTuple):
    h: tuple  # the matrix H as `terms` returns it
    w: tuple
    h_back: tuple  # H^T
    w_back: tuple
    place: np.ndarray  # (slots of H, slots of W)
    step: np.ndarray
    layout: tuple  # (start, planes, rows, columns, distance of planes) of each stack
    size: int
    C: int

    @classmethod
    def of(cls, h, w, place, step, layout, size, C, dtype):
        there = terms(h, dtype, by_row=True), terms(w, dtype, by_row=False)
        back = terms(h.T, dtype, by_row=True), terms(w.T, dtype, by_row=False)
        return cls(*there, *back, place.astype(_u), step.astype(_u), layout, size, C)

    def stacks(self, planes):
        """Views (planes, rows, columns) of the planes that are alike."""
        for start, count, rows, columns, distance in self.layout:
            stack = planes[start : start + count * distance].reshape(count, distance)
            yield stack[:, : rows * columns].reshape(count, rows, columns)


def terms(matrix, dtype, by_row):
    """The matrix as groups of FOUR nonzeros: (rows, columns (groups, FOUR), factors likewise).

    A row without that many gets factors 0, for a column of its own or of the row before: what is
    not finite goes no farther. One with more has further groups. `by_row` they follow the row's
    first, and `rows` is where each row's groups start; else they follow the first groups of all
    rows, and `rows` is each group's row.
    """
    groups, near = [], [0]
    for i, row in enumerate(matrix):
        columns = np.flatnonzero(row)
        near = list(columns[:1]) or near
        for k in range(0, max(1, len(columns)), FOUR):
            four = list(columns[k : k + FOUR])
            fill = FOUR - len(four)
            groups.append((i, k, four + fill * (four[:1] or near), [*row[four], *fill * [0]]))
    if not by_row:
        groups.sort(key=lambda group: (group[1] > 0, group[0]))
    rows, _, columns, factors = zip(*groups, strict=True)
    if by_row:
        rows = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return np.array(rows, np.uint64), np.array(columns, np.uint64), np.array(factors, dtype)


def spread(axes, x, planes):
    row = x.shape[2] * axes.C
    line = empty((row,), x.dtype)
    args = axes.place, axes.step, *axes.h, *axes.w
    _spread(x.reshape(-1), _u(len(x)), planes, *args, line, _u(row), _u(axes.C))


def collect(axes, planes, x):
    line = empty((axes.place.shape[1] * axes.C,), x.dtype)
    args = axes.place, axes.step, *axes.h_back, *axes.w_back
    _collect(planes, x.reshape(-1), _u(len(x)), _u(x.shape[2]), *args, line, _u(axes.C))


# The runs below are short, C numbers. What makes them fast: four terms in every run, in a loop that
# never asks how many (three times as fast as a branch for each count); inlining (twice as fast);
# unsigned indices, of which Numba does not ask whether they count from the end.


@njit(inline="always")
def _write(out, at, source, where, base, factors, size):
    """out[at:] = sum of factors[k] * source[base + where[k] :], `size` numbers of each."""
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    s0, s1, s2, s3 = base + where[0], base + where[1], base + where[2], base + where[3]
    for c in range(size):
        first, last = (
            f0 * source[s0 + c] + f1 * source[s1 + c],
            f2 * source[s2 + c] + f3 * source[s3 + c],
        )
        out[at + c] = first + last


# Not one function with a factor for what was there: memory is used again, and 0 x NaN is NaN.
@njit(inline="always")
def _add(out, at, source, where, base, factors, size):
    f0, f1, f2, f3 = factors[0], factors[1], factors[2], factors[3]
    s0, s1, s2, s3 = base + where[0], base + where[1], base + where[2], base + where[3]
    for c in range(size):
        first, last = (
            f0 * source[s0 + c] + f1 * source[s1 + c],
            f2 * source[s2 + c] + f3 * source[s3 + c],
        )
        out[at + c] += first + last


@jit
def _spread(x, N, planes, place, step, starts, h, h_factors, rows, w, w_factors, line, row, C):
    slots_h, slots_w = place.shape
    H, none = _u(x.size) // (N * row), _u(0)
    h, w = h * row, w * C
    for n in range(N):
        base = n * H * row
        for i in range(slots_h):
            for g in range(starts[i], starts[i + 1]):  # line (W, C) = row i of H times x
                if g == starts[i]:
                    _write(line, none, x, h[g], base, h_factors[g], row)
                else:
                    _add(line, none, x, h[g], base, h_factors[g], row)
            for j in range(slots_w):  # planes[i] = W times line
                _write(planes, place[i, j] + n * step[i, j], line, w[j], none, w_factors[j], C)
            for g in range(slots_w, len(rows)):
                at = place[i, rows[g]] + n * step[i, rows[g]]
                _add(planes, at, line, w[g], none, w_factors[g], C)


@jit
def _collect(planes, x, N, W, place, step, starts, h, h_factors, rows, w, w_factors, line, C):
    H, slots_w = _u(len(starts) - 1), _u(place.shape[1])
    where, none = np.empty(FOUR, np.uint64), _u(0)
    w = w * C
    for n in range(N):
        for i in range(H):
            for g in range(starts[i], starts[i + 1]):  # line (slots of W, C) = row i of H^T, planes
                for j in range(slots_w):
                    for k in range(FOUR):
                        where[k] = place[h[g, k], j] + n * step[h[g, k], j]
                    if g == starts[i]:
                        _write(line, j * C, planes, where, none, h_factors[g], C)
                    else:
                        _add(line, j * C, planes, where, none, h_factors[g], C)
            start = (n * H + i) * W
            for j in range(W):  # x[n, i] = W^T times line
                _write(x, (start + j) * C, line, w[j], none, w_factors[j], C)
            for g in range(W, _u(len(rows))):
                _add(x, (start + rows[g]) * C, line, w[g], none, w_factors[g], C)
