"""A correlation and its transpose without patches, products included.

Images are copied, some at a time, into a room with margins of zeros, which stays in the L2 cache.
There a table knows the places of all numbers (tables.py), and the sums of their products stay in
registers (registers.py): for y or dx, a tile of places and channels; for dw, of terms and channels.
"""

from math import prod

import numpy as np

from .. import jit
from ..runtime.memory import scratch
from .indirection import SUM_OF_LANES, tile_width
from .microkernel import BYTES, ROWS, RUN_ROWS, add_places, add_run_places, add_runs, add_terms

# A long sum in float32 loses digits, most where all terms are alike. So dw is summed
CHUNK = 128  # places, in registers;
CHUNKS = 32  # in memory; and then in float64


def products(image, grid, kernel_size, stride, padding, C, O):
    """About how many lanes are multiplied for an image, on average of y, dx and dw."""
    taps = prod(kernel_size)
    forward = prod(grid) * _lanes(taps * C, O)
    back = prod(image) * _lanes(taps * O / prod(stride), C)
    return (2 * forward + back) / 3


def _lanes(terms, channels):
    """The lanes used for a sum: of channels, or of a few channels' terms."""
    lanes = BYTES // 4  # of float32
    wide = lanes if channels <= lanes else 2 * lanes
    return min(terms * -(-channels // wide) * wide, channels * (terms + SUM_OF_LANES * lanes))


class Sums:
    """y of x, or x of y, whichever the table is for. w (rows, channels of a tile)."""

    def __init__(self, table, channels, w):
        self.table, self.w = table, w
        if table.few:
            rows = np.append(w, np.zeros((1, channels), w.dtype), axis=0)
            self.w = np.ascontiguousarray(rows[table.lanes].transpose(2, 0, 1))  # (O, runs, lanes)

    def write(self, x, y, b, slope):
        """y (N, OH, OW, O) of x (N, H, W, C): for each pixel the sum of its terms, plus b, through
        leaky ReLU."""
        b = np.zeros(y.shape[-1], x.dtype) if b is None else np.ascontiguousarray(b)
        write = _write_runs if self.table.few else _write
        slope, y = x.dtype.type(slope), y.reshape(len(y), -1)
        write(self.table, *_rows_and_room(self.table, x), self.w, b, slope, y)


def weight_gradient(table, x, y):
    """dw (tiles, terms, channels of a tile): the products of y with the x of each term, summed over
    all places."""
    O = y.shape[-1]
    x, room = _rows_and_room(table, x)
    y = y.reshape(-1, O)
    if table.few:
        runs = np.append(table.runs, np.zeros(-len(table.runs) % RUN_ROWS, np.int64))
        dw = np.zeros((O, len(runs), BYTES // x.itemsize), x.dtype)
        _add_run_gradient(table, x, room, runs, y, dw, _total(dw, y))
        real = table.lanes >= 0
        in_rows = np.empty((1, len(table.rows), O), x.dtype)
        in_rows[0, table.lanes[real]] = dw[:, : len(real)][:, real].T
        return in_rows
    width = tile_width(O, x.itemsize)
    dw = np.zeros((O // width, len(table.rows), width), x.dtype)
    _add_gradient(table, x, room, y, dw, _total(dw, y))
    return dw


def _total(dw, y):
    """Room for a sum in float64, unless there are few places."""
    return np.zeros(dw.size if len(y) > CHUNK * CHUNKS else 0)


def _rows_and_room(table, x):
    """x, and memory for some padded images, all zero. Both are (images, rows, numbers)."""
    N, H, W, C = x.shape
    height, width = table.room
    shape = table.images, height, width * C
    room = scratch((prod(shape) + BYTES,), x.dtype)  # a run's end may stick out
    room.fill(0)
    return x.reshape(N, H, W * C), room[: prod(shape)].reshape(shape)


@jit
def _fill(room, x, margin):
    """Copy images into the room, inside its margins. What does not fit in is reached by no tap."""
    top, left = margin
    width = min(x.shape[2], room.shape[2] - left)
    for n in range(x.shape[0]):
        for h in range(min(x.shape[1], room.shape[1] - top)):
            source, target = x[n, h], room[n, top + h, left:]
            for k in range(width):
                target[k] = source[k]


@jit
def _places(table, phase, images):
    """The places of a phase in so many images: from, to."""
    start, end = table.place_starts[phase], table.place_starts[phase + 1]
    return start, start + (end - start) // table.images * images


@jit
def _write(table, x, room, w, b, slope, y):
    wide = 2 * BYTES // x.itemsize
    for n in range(0, len(x), table.images):
        images, results = x[n : n + table.images], y[n:]
        _fill(room, images, table.margin)
        for phase in range(len(table.place_starts) - 1):
            start, end = _places(table, phase, len(images))
            first, last = table.term_starts[phase], table.term_starts[phase + 1]
            offsets, rows = table.offsets[first:last], table.rows[first:last]
            for c in range(0, len(b), wide):
                tile = c // w.shape[1]
                weights, column = w[tile * table.rows_of_a_tile :], c % w.shape[1]
                if 2 * w.shape[1] <= wide:
                    for p in range(start, end, ROWS[1]):
                        add_terms(
                            room, table.places, offsets, weights, rows, b, slope, results,
                            table.targets, p, end, c, column, 1,
                        )  # fmt: skip
                else:
                    for p in range(start, end, ROWS[2]):
                        add_terms(
                            room, table.places, offsets, weights, rows, b, slope, results,
                            table.targets, p, end, c, column, 2,
                        )  # fmt: skip


@jit
def _write_runs(table, x, room, w, b, slope, y):
    """w (channels, runs, lanes)."""
    for n in range(0, len(x), table.images):
        images, results = x[n : n + table.images], y[n:]
        _fill(room, images, table.margin)
        for phase in range(len(table.place_starts) - 1):
            start, end = _places(table, phase, len(images))
            first, last = table.run_starts[phase], table.run_starts[phase + 1]
            runs, inside = table.runs[first:last], table.inside[first:last]
            for p in range(start, end, RUN_ROWS):
                for c in range(len(w)):
                    add_runs(
                        room, table.places, runs, inside, w[c, first:last], b[c], slope, results,
                        table.targets, p, end, c,
                    )  # fmt: skip


@jit
def _move(dw, total):
    """dw into the total."""
    for i in range(len(total)):
        total[i] += dw[i]
        dw[i] = 0


@jit
def _move_back(total, dw):
    for i in range(len(total)):
        dw[i] += total[i]


@jit
def _add_gradient(table, x, room, y, dw, total):
    """y (places, channels), dw (tiles, rows, channels of a tile)."""
    chunks = 0
    wide, places = 2 * BYTES // x.itemsize, len(table.places) // table.images
    for n in range(0, len(x), table.images):
        images, results = x[n : n + table.images], y[n * places :]
        _fill(room, images, table.margin)
        _, end = _places(table, 0, len(images))
        for p in range(0, end, CHUNK):
            last = min(p + CHUNK, end)
            for c in range(0, len(dw) * dw.shape[2], wide):
                tile, column = dw[c // dw.shape[2]], c % dw.shape[2]
                if 2 * dw.shape[2] <= wide:
                    for t in range(0, dw.shape[1], ROWS[1]):
                        add_places(
                            room, table.places, table.offsets, results, tile, table.rows,
                            p, last, t, c, column, 1,
                        )  # fmt: skip
                else:
                    for t in range(0, dw.shape[1], ROWS[2]):
                        add_places(
                            room, table.places, table.offsets, results, tile, table.rows,
                            p, last, t, c, column, 2,
                        )  # fmt: skip
            chunks += 1
            if chunks % CHUNKS == 0:
                _move(dw.reshape(-1), total)
    _move_back(total, dw.reshape(-1))


@jit
def _add_run_gradient(table, x, room, runs, y, dw, total):
    """dw (channels, runs, lanes)."""
    chunks = 0
    places = len(table.places) // table.images
    for n in range(0, len(x), table.images):
        images, results = x[n : n + table.images], y[n * places :]
        _fill(room, images, table.margin)
        _, end = _places(table, 0, len(images))
        for p in range(0, end, CHUNK):
            last = min(p + CHUNK, end)
            for k in range(0, len(runs), RUN_ROWS):
                for c in range(len(dw)):
                    add_run_places(room, table.places, runs, results, dw[c], p, last, k, c, len(dw))
            chunks += 1
            if chunks % CHUNKS == 0:
                _move(dw.reshape(-1), total)
    _move_back(total, dw.reshape(-1))
