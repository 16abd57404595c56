"""Direct convolution: a correlation and its transpose without a matrix of patches.

A few images at a time are copied into padded images, which stay in the L2 cache. indirection.py
computes the offsets of all terms there; microkernel.py sums the products in registers.
"""

from itertools import product
from math import prod

import numpy as np

from .. import jit
from ..runtime.memory import scratch
from . import indirection
from .algorithms import Algorithm
from .indirection import SUM_OF_LANES, panel_width
from .layout import turned
from .microkernel import (
    RUN_MR,
    VECTOR_BYTES,
    sum_term_runs,
    sum_terms,
    sum_window_runs,
    sum_windows,
)

# A long sum in float32 loses digits, most of all if its terms are similar. So dw is summed over
CHUNK = 128  # windows in registers, over
CHUNKS = 32  # such sums in memory, and then in float64.


def products(image, grid, kernel_size, stride, padding, C, O):
    """Roughly how many lanes are multiplied per image: the average for y, dx and dw."""
    taps = prod(kernel_size)
    forward = prod(grid) * _lanes(taps * C, O)
    back = prod(image) * _lanes(taps * O / prod(stride), C)
    return (2 * forward + back) / 3


def _lanes(terms, channels):
    """The lanes used for a sum: vectors of channels or, for few channels, vectors of terms."""
    lanes = VECTOR_BYTES // 4  # of float32
    wide = lanes if channels <= lanes else 2 * lanes
    return min(terms * -(-channels // wide) * wide, channels * (terms + SUM_OF_LANES * lanes))


class Direct(Algorithm):
    """All products of the definition."""

    def __init__(self, N, w, geometry, cost):
        super().__init__(N, w, geometry, cost)
        self.sizes = geometry, self.C, self.O, self.images, w.itemsize
        self.buffer = indirection.forward_buffer(*self.sizes)
        self.panels = self._panels(self.buffer, self.O, w.size // self.O)

    def prepare_back(self):
        self.back_buffer = indirection.back_buffer(*self.sizes)
        self.back_panels = self._panels(self.back_buffer, self.C, prod(self.geometry.kernel_size))

    def _panels(self, buffer, channels, count):
        """The weights in packed panels: channels, which are `count` numbers apart in w, become
        neighbours. For few channels (channels * runs, lanes)."""
        width = panel_width(channels, self.w.itemsize)
        w = turned(self.w.reshape(-1, width, count)).reshape(-1, width)
        if not buffer.few_channels:
            return w
        rows = np.append(w, np.zeros((1, channels), w.dtype), axis=0)
        of_channels = rows[buffer.lanes].transpose(2, 0, 1)  # (channels, runs, lanes)
        return np.ascontiguousarray(of_channels).reshape(-1, buffer.lanes.shape[1])

    def correlate(self, x, y, b=None):
        _sums(self.buffer, x, self.panels, b, y)

    def correlate_back(self, y, x, b=None):
        _sums(self.back_buffer, y, self.back_panels, b, x)

    def gradients(self, x, y, x_out=None, y_out=None):
        if x_out is not None:
            self.correlate_back(y, x_out)
        if y_out is not None:
            self.correlate(x, y_out)
        return _weight_gradient(self.buffer, x, y)


class Unpadded(Direct):
    """For weights that are not finite: as in the reference, `correlate_back` multiplies no weight
    by the zeros of a margin (0 x infinity is NaN). `correlate` pads x, as the reference does."""

    def prepare_back(self):
        pass

    def correlate_back(self, y, x, b=None):
        x.fill(0)
        image, grid, kernel_size, stride, padding = self.geometry
        for tap in product(*map(range, kernel_size)):
            both = map(_met, tap, image, grid, stride, padding)
            pixels, windows = zip(*both, strict=True)
            x[:, *pixels] += y[:, *windows] @ self.w[:, :, *tap]
        if b is not None:
            x += b


def _met(tap, H, OH, S, P):
    """Slices of x and y: the pixels that the tap reads, and the windows in which it does."""
    first, last = max(0, -((tap - P) // S)), min(OH - 1, (H - 1 + P - tap) // S)
    start = first * S + tap - P
    return slice(start, start + max(0, last - first + 1) * S, S), slice(first, max(first, last + 1))


def _sums(buffer, x, panels, b, y):
    """Write the sum of its terms, plus b, to each pixel of y."""
    b = np.zeros(y.shape[-1], x.dtype) if b is None else np.ascontiguousarray(b)
    _write(buffer, *_rows_and_padded(buffer, x), panels, b, y.reshape(len(y), -1))


def _weight_gradient(buffer, x, y):
    """dw (panels, terms, channels of a panel): sums over windows of y times the x of each term."""
    O = y.shape[-1]
    x, padded = _rows_and_padded(buffer, x)
    y = y.reshape(-1, O)
    runs = np.append(buffer.runs, np.zeros(-len(buffer.runs) % RUN_MR, np.int64))  # fill the tiles
    width = panel_width(O, x.itemsize)
    shape = O // width, len(buffer.rows), width
    if buffer.few_channels:
        shape = O, len(runs), VECTOR_BYTES // x.itemsize
    dw = np.zeros(shape, x.dtype)
    total = np.zeros(dw.size if len(y) > CHUNK * CHUNKS else 0)  # in float64
    _add_gradient(buffer, x, padded, runs, y, dw, total)
    if not buffer.few_channels:
        return dw
    real = buffer.lanes >= 0
    in_rows = np.empty((1, len(buffer.rows), O), x.dtype)
    in_rows[0, buffer.lanes[real]] = dw[:, : len(real)][:, real].T
    return in_rows


def _rows_and_padded(buffer, x):
    """x, and zeroed memory for a few padded images. Both are (images, rows, numbers)."""
    N, H, W, C = x.shape
    height, width = buffer.padded_size
    shape = buffer.images, height, width * C
    padded = scratch((prod(shape) + VECTOR_BYTES,), x.dtype)  # the last vector may exceed the end
    padded.fill(0)
    return x.reshape(N, H, W * C), padded[: prod(shape)].reshape(shape)


@jit
def _fill(padded, x, margin):
    """Copy images inside the margins. No tap reaches the pixels that do not fit."""
    top, left = margin
    width = min(x.shape[2], padded.shape[2] - left)
    for n in range(x.shape[0]):
        for h in range(min(x.shape[1], padded.shape[1] - top)):
            source, target = x[n, h], padded[n, top + h, left:]
            for k in range(width):
                target[k] = source[k]


@jit
def _windows(buffer, phase, images):
    """The range of windows of a phase in that many images: start, end."""
    start, end = buffer.window_bounds[phase], buffer.window_bounds[phase + 1]
    return start, start + (end - start) // buffer.images * images


@jit
def _write(buffer, x, padded, w, b, y):
    """w (rows of all panels, channels of a panel); for few channels (channels * runs, lanes)."""
    for n in range(0, len(x), buffer.images):
        images, results = x[n : n + buffer.images], y[n:]
        _fill(padded, images, buffer.margin)
        for phase in range(len(buffer.window_bounds) - 1):
            start, end = _windows(buffer, phase, len(images))
            if buffer.few_channels:
                first, last = buffer.run_bounds[phase], buffer.run_bounds[phase + 1]
                runs, run_lengths = buffer.runs[first:last], buffer.run_lengths[first:last]
                for p in range(start, end, RUN_MR):
                    for c in range(len(b)):
                        of_channel = w[c * len(buffer.runs) :]
                        sum_term_runs(
                            padded, buffer.windows, runs, run_lengths, of_channel[first:last],
                            b[c], results, buffer.targets, p, end, c,
                        )  # fmt: skip
                continue
            first, last = buffer.term_bounds[phase], buffer.term_bounds[phase + 1]
            offsets, rows = buffer.offsets[first:last], buffer.rows[first:last]
            for c in range(0, len(b), 2 * VECTOR_BYTES // x.itemsize):
                panel, column = c // w.shape[1], c % w.shape[1]
                sum_terms(
                    padded, buffer.windows, offsets, w[panel * buffer.panel_rows :], rows, b,
                    results, buffer.targets, start, end, c, column,
                )  # fmt: skip


@jit
def _move(dw, total):
    for i in range(len(total)):
        total[i] += dw[i]
        dw[i] = 0


@jit
def _add_gradient(buffer, x, padded, runs, y, dw, total):
    """y (windows, channels), dw (panels, rows, channels), or (channels, runs, lanes) if few."""
    chunks = 0
    windows, panels, width = len(buffer.windows) // buffer.images, len(dw), dw.shape[2]
    for n in range(0, len(x), buffer.images):
        images, results = x[n : n + buffer.images], y[n * windows :]
        _fill(padded, images, buffer.margin)
        _, end = _windows(buffer, 0, len(images))
        for p in range(0, end, CHUNK):
            last = min(p + CHUNK, end)
            if buffer.few_channels:
                for k in range(0, len(runs), RUN_MR):
                    for c in range(len(dw)):
                        sum_window_runs(
                            padded, buffer.windows, runs, results, dw[c], p, last, k, c, len(dw)
                        )
            else:
                for c in range(0, panels * width, 2 * VECTOR_BYTES // x.itemsize):
                    sum_windows(
                        padded, buffer.windows, buffer.offsets, results, dw[c // width],
                        buffer.rows, p, last, c, c % width,
                    )  # fmt: skip
            chunks += 1
            if chunks % CHUNKS == 0:
                _move(dw.reshape(-1), total)
    flat = dw.reshape(-1)
    for i in range(len(total)):
        flat[i] += total[i]
