"""Batch normalisation with channels last, optionally with leaky ReLU; two passes forward, two back.

Sums are taken as in reductions.py. The variances of chunks are merged as in Chan, Golub & LeVeque,
"Updating Formulae and a Pairwise Algorithm for Computing Sample Variances" (1979).
"""

import numpy as np

from . import jit
from .convolution.layout import to_nhwc
from .runtime.memory import empty
from .runtime.reductions import CHUNK, wide
from .runtime.threads import share, share_rows


def batch_norm_forward(x, running_mean, running_var, w, b, training, momentum, eps):
    return _forward(x, running_mean, running_var, w, b, training, momentum, eps, 1.0)


def _forward(x, running_mean, running_var, w, b, training, momentum, eps, negative_slope):
    """Batch norm, then leaky ReLU; with a slope of 1 leaky ReLU has no effect."""
    rows = _as_rows(x)
    M, C = rows.shape
    if training:
        mean, var = _moments(rows)
        running_mean = (1 - momentum) * running_mean + momentum * mean
        running_var = (1 - momentum) * running_var + momentum * (var * (M / (M - 1)))
    else:
        mean, var = running_mean, running_var
    inv_std = (var + eps) ** -0.5
    slope = x.dtype.type(negative_slope)
    y = empty(rows.shape, x.dtype)
    wide_x, wide_y = wide(rows), wide(y)
    vectors = _repeat(wide_x.shape[1], x.dtype, mean, w * inv_std, b)
    share_rows(_scale, 0.3 * x.size, (wide_x, wide_y), *vectors, slope)
    cache = (rows, mean, inv_std, w, b, training, slope)
    running = running_mean.astype(x.dtype, copy=False), running_var.astype(x.dtype, copy=False)
    return _like(y, x.shape), cache, running


def batch_norm_backward(dy, cache):
    rows, mean, inv_std, w, b, training, slope = cache
    (M, C), shape, dtype = rows.shape, dy.shape, dy.dtype
    dx = empty(rows.shape, dtype)
    wide_x, wide_dy, wide_dx = wide(rows), wide(_as_rows(dy)), wide(dx)
    width = wide_x.shape[1]
    vectors = _repeat(width, dtype, mean, w * inv_std, b)

    def add_up(part):
        sums = np.zeros((2, width))
        local = np.empty((2, width), dtype)
        _sums(wide_dy[part], wide_x[part], *vectors, slope, *sums, local)
        return sums

    parts = share(add_up, len(wide_x), 0.3 * rows.size)
    db, dw = sum(parts).reshape(2, -1, C).sum(axis=1)
    dw *= inv_std
    # dx = scale (dh - db/M - x_hat dw/M); in evaluation without averages: 0 x infinity is NaN
    averages = _repeat(width, dtype, inv_std * dw / M, db / M) if training else ()
    write = _dx if training else _dx_in_evaluation
    share_rows(write, 0.4 * rows.size, (wide_dy, wide_x, wide_dx), *vectors, slope, *averages)
    return _like(dx, shape), dw.astype(dtype), db.astype(dtype)


def _as_rows(x):
    """(N, C) or (N, C, H, W) -> (M, C), contiguous."""
    if x.ndim == 2:
        return np.ascontiguousarray(x)
    return to_nhwc(x).reshape(-1, x.shape[1])


def _like(rows, shape):
    """The inverse of `_as_rows`: (M, C) -> shape, a view."""
    if len(shape) == 2:
        return rows
    N, C, H, W = shape
    return rows.reshape(N, H, W, C).transpose(0, 3, 1, 2)


def _repeat(width, dtype, *vectors):
    """Vectors over the channels, repeated as often as `wide` puts rows side by side."""
    return [np.tile(v.astype(dtype), width // len(v)) for v in vectors]


def _moments(rows):
    """Mean and variance of every column, in float64."""
    many = wide(rows)
    width = many.shape[1]

    def work(part):
        mean, squares = np.zeros((2, width))
        _chunk_moments(many[part], mean, squares, np.empty((2, width), rows.dtype))
        return part.stop - part.start, mean, squares

    parts = share(work, len(many), 0.3 * rows.size)
    C = rows.shape[1]
    total, mean, squares = 0, np.zeros(C), np.zeros(C)
    for count, *sums in parts:
        for m, s in zip(*(a.reshape(-1, C) for a in sums), strict=True):
            delta, total = m - mean, total + count
            mean = mean + delta * (count / total)
            squares = squares + s + delta**2 * (count * (total - count) / total)
    return mean, squares / total


@jit
def _chunk_moments(x, mean, squares, local):
    """mean and sum of squared deviations of every column, a chunk of rows at a time."""
    M, C = x.shape
    mean_of_chunk, deviations = local[0], local[1]
    for start in range(0, M, CHUNK):
        chunk = x[start : start + CHUNK]
        n = len(chunk)
        mean_of_chunk[:] = 0
        for r in range(n):
            row = chunk[r]
            for c in range(C):
                mean_of_chunk[c] += row[c]
        for c in range(C):
            mean_of_chunk[c] /= n
            deviations[c] = 0
        for r in range(n):
            row = chunk[r]
            for c in range(C):
                deviations[c] += (row[c] - mean_of_chunk[c]) ** 2
        for c in range(C):
            delta = mean_of_chunk[c] - mean[c]
            mean[c] += delta * (n / (start + n))
            squares[c] += deviations[c] + delta * delta * (start * (n / (start + n)))


@jit
def _scale(x, y, mean, scale, shift, slope):
    for r in range(len(x)):
        x_row, y_row = x[r], y[r]
        for c in range(x_row.size):
            h = (x_row[c] - mean[c]) * scale[c] + shift[c]
            y_row[c] = h if h > 0 else slope * h


@jit
def _sums(dy, x, mean, scale, shift, slope, db, dw, local):
    """db += sum of dh, dw += sum of dh (x - mean), a chunk of rows at a time."""
    M, C = x.shape
    local_db, local_dw = local[0], local[1]
    for start in range(0, M, CHUNK):
        dy_chunk, x_chunk = dy[start : start + CHUNK], x[start : start + CHUNK]
        local_db[:] = 0
        local_dw[:] = 0
        for r in range(len(x_chunk)):
            dy_row, x_row = dy_chunk[r], x_chunk[r]
            for c in range(C):
                centred = x_row[c] - mean[c]
                positive = centred * scale[c] + shift[c] > 0
                dh = dy_row[c] if positive else slope * dy_row[c]
                local_db[c] += dh
                local_dw[c] += dh * centred
        for c in range(C):
            db[c] += local_db[c]
            dw[c] += local_dw[c]


@jit
def _dx(dy, x, dx, mean, scale, shift, slope, slant, level):
    for r in range(len(x)):
        dy_row, x_row, dx_row = dy[r], x[r], dx[r]
        for c in range(x_row.size):
            centred = x_row[c] - mean[c]
            positive = centred * scale[c] + shift[c] > 0
            dh = dy_row[c] if positive else slope * dy_row[c]
            dx_row[c] = scale[c] * (dh - level[c] - centred * slant[c])


@jit
def _dx_in_evaluation(dy, x, dx, mean, scale, shift, slope):
    for r in range(len(x)):
        dy_row, x_row, dx_row = dy[r], x[r], dx[r]
        for c in range(x_row.size):
            positive = (x_row[c] - mean[c]) * scale[c] + shift[c] > 0
            dx_row[c] = scale[c] * (dy_row[c] if positive else slope * dy_row[c])
