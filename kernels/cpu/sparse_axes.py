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
        return cls(*maps, place, step, layout, size, C)

    def stacks(self, planes):
        """Views (planes, rows, columns)."""
        for start, count, rows, columns, distance in self.layout:
            stack = planes[start : start + count * distance].reshape(count, distance)
            yield stack[:, : rows * columns].reshape(count, rows, columns)


def rows_of(matrix, dtype):
    """Nonzeros of row i: columns[starts[i] : starts[i + 1]], factors likewise."""
    rows, columns = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return starts, columns, matrix[rows, columns].astype(dtype)


def spread(axes, x, planes):
    line = scratch("line", x.shape[2] * axes.C, x.dtype)
    _spread(x.reshape(-1), len(x), planes, axes.place, axes.step, *axes.h, *axes.w, line, axes.C)


def collect(axes, planes, x):
    line = scratch("line", axes.place.shape[1] * axes.C, x.dtype)
    args = axes.place, axes.step, *axes.h_back, *axes.w_back
    _collect(planes, x.reshape(-1), len(x), *args, line, axes.C)


@jit
def _combine(out, source, where, factors, first, last, size):
    """out[:size] = sum of factors[k] * source[where[k] : where[k] + size], k from first to last."""
    n = last - first
    if n == 0:
        for c in range(size):
            out[c] = 0
        return
    x0, f0 = source[where[first] :], factors[first]
    if n == 1:
        for c in range(size):
            out[c] = f0 * x0[c]
        return
    x1, f1 = source[where[first + 1] :], factors[first + 1]
    if n == 2:
        for c in range(size):
            out[c] = f0 * x0[c] + f1 * x1[c]
        return
    x2, f2 = source[where[first + 2] :], factors[first + 2]
    if n == 3:
        for c in range(size):
            out[c] = f0 * x0[c] + f1 * x1[c] + f2 * x2[c]
        return
    x3, f3 = source[where[first + 3] :], factors[first + 3]
    for c in range(size):
        out[c] = f0 * x0[c] + f1 * x1[c] + f2 * x2[c] + f3 * x3[c]
    for k in range(first + 4, last):
        x0, f0 = source[where[k] :], factors[k]
        for c in range(size):
            out[c] += f0 * x0[c]


@jit
def _spread(x, N, planes, place, step, hs, h, hf, ws, w, wf, line, C):
    slots_h, slots_w = place.shape
    row = line.size  # W*C
    H = x.size // (N * row)
    where_h, where_w = np.empty_like(h), w * C
    for n in range(N):
        for k in range(h.size):
            where_h[k] = (n * H + h[k]) * row
        for i in range(slots_h):
            _combine(line, x, where_h, hf, hs[i], hs[i + 1], row)
            for j in range(slots_w):
                out = planes[place[i, j] + n * step[i, j] :]
                _combine(out, line, where_w, wf, ws[j], ws[j + 1], C)


@jit
def _collect(planes, x, N, place, step, hs, h, hf, ws, w, wf, line, C):
    slots_w = place.shape[1]
    H, W = hs.size - 1, ws.size - 1
    where_h, where_w = np.empty_like(h), w * C
    for n in range(N):
        for i in range(H):
            for j in range(slots_w):
                for k in range(hs[i], hs[i + 1]):
                    where_h[k] = place[h[k], j] + n * step[h[k], j]
                _combine(line[j * C :], planes, where_h, hf, hs[i], hs[i + 1], C)
            for j in range(W):
                out = x[((n * H + i) * W + j) * C :]
                _combine(out, line, where_w, wf, ws[j], ws[j + 1], C)
