"""Sparse matrices along both axes of images: the transforms of toom_cook.py and their transposes.

    spread    planes = H x W^T     x (N, H, W, C)  ->  one number for each image, slot of H, slot of W, channel
    collect   x = H^T planes W     its transpose

H (slots, height) and W (slots, width) are sparse. `planes` is flat memory in which the caller lays
out the slots: image n, slots i and j, has its C numbers at place[i, j] + n * step[i, j].
"""

import threading
from typing import NamedTuple

import numpy as np

from . import jit

FIRST, MORE = np.uint64(4), np.uint64(2)  # terms of a sum that are added at a time
_local = threading.local()


def scratch(name, size, dtype):
    """Memory of this thread and name, with undefined content."""
    buffers = _local.__dict__
    size *= dtype.itemsize
    if name not in buffers or buffers[name].size < size:
        buffers[name] = np.empty(size, np.uint8)
    return buffers[name][:size].view(dtype)


class SparseAxes(NamedTuple):
    h: tuple  # the matrix H as `rows_of` returns it
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
        maps = (rows_of(matrix, dtype) for matrix in (h, w, h.T, w.T))
        return cls(*maps, place.astype(np.uint64), step.astype(np.uint64), layout, size, C)

    def stacks(self, planes):
        """Views (planes, rows, columns)."""
        for start, count, rows, columns, distance in self.layout:
            stack = planes[start : start + count * distance].reshape(count, distance)
            yield stack[:, : rows * columns].reshape(count, rows, columns)


def rows_of(matrix, dtype):
    """Row i has columns[starts[i] : starts[i + 1]], with factors likewise: FIRST of them and a
    multiple of MORE, some of them 0."""
    starts, columns, factors = [0], [], []
    for row in matrix:
        terms = list(np.flatnonzero(row)) or [0]
        terms += terms[:1] * max(int(FIRST) - len(terms), len(terms) % int(MORE))
        zeros = [0] * (len(terms) - np.count_nonzero(row))
        columns += terms
        factors += [*row[np.flatnonzero(row)], *zeros]
        starts.append(len(columns))
    return np.array(starts, np.uint64), np.array(columns, np.uint64), np.array(factors, dtype)


def spread(axes, x, planes):
    row = x.shape[2] * axes.C
    line = scratch("line", row, x.dtype)
    args = axes.place, axes.step, *axes.h, *axes.w
    _spread(x.reshape(-1), np.uint64(len(x)), planes, *args, line, np.uint64(row), np.uint64(axes.C))


def collect(axes, planes, x):
    line = scratch("line", axes.place.shape[1] * axes.C, x.dtype)
    args = axes.place, axes.step, *axes.h_back, *axes.w_back
    _collect(planes, x.reshape(-1), np.uint64(len(x)), *args, line, np.uint64(axes.C))


# The runs below are short, C numbers. What makes them fast: as many terms for every run, a loop that
# never asks how many (four times as fast as a branch for each count); unsigned indices, of which
# Numba does not ask whether they count from the end; no slices, as a view costs more than its run.


@jit
def _combine(out, start, source, where, factors, first, last, size):
    """out[start + c] = sum of factors[k] * source[where[k] + c], k from first to last, c to size."""
    k = first
    x0, x1, x2, x3 = where[k], where[k + 1], where[k + 2], where[k + 3]
    f0, f1, f2, f3 = factors[k], factors[k + 1], factors[k + 2], factors[k + 3]
    for c in range(size):
        near = f0 * source[x0 + c] + f1 * source[x1 + c]
        out[start + c] = near + f2 * source[x2 + c] + f3 * source[x3 + c]
    for k in range(first + FIRST, last, MORE):
        x0, x1 = where[k], where[k + 1]
        f0, f1 = factors[k], factors[k + 1]
        for c in range(size):
            out[start + c] += f0 * source[x0 + c] + f1 * source[x1 + c]


@jit
def _spread(x, N, planes, place, step, hs, h, hf, ws, w, wf, line, row, C):
    slots_h, slots_w = place.shape
    H = x.size // (N * row)
    zero = row - row
    where_h, where_w = np.empty_like(h), w * C
    for n in range(N):
        for k in range(h.size):
            where_h[k] = (n * H + h[k]) * row
        for i in range(slots_h):
            _combine(line, zero, x, where_h, hf, hs[i], hs[i + 1], row)
            for j in range(slots_w):
                out = place[i, j] + n * step[i, j]
                _combine(planes, out, line, where_w, wf, ws[j], ws[j + 1], C)


@jit
def _collect(planes, x, N, place, step, hs, h, hf, ws, w, wf, line, C):
    slots_w = np.uint64(place.shape[1])
    H, W = np.uint64(hs.size - 1), np.uint64(ws.size - 1)
    where_h, where_w = np.empty_like(h), w * C
    for n in range(N):
        for i in range(H):
            for j in range(slots_w):
                for k in range(hs[i], hs[i + 1]):
                    where_h[k] = place[h[k], j] + n * step[h[k], j]
                _combine(line, j * C, planes, where_h, hf, hs[i], hs[i + 1], C)
            for j in range(W):
                out = ((n * H + i) * W + j) * C
                _combine(x, out, line, where_w, wf, ws[j], ws[j + 1], C)
