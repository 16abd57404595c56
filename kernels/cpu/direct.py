"""A correlation and its transpose without patches, products included: see registers.py.

    y[n,i,j,:] = sum over u,v,c of  x[n, i*SH + u - PH, j*SW + v - PW, c]  w[u,v,c,:]

With the padded images as one flat array, the x of a term lies at places[n,i,j] + offsets[u,v,c]:
two tables that depend on the shapes alone. The transpose is the same, phase by phase. A pixel h of
x has taken part in those y[i] that lead to it with some u:

    h + PH = i*SH + u     so  u = (h + PH) % SH, or SH more, ...;  i = (h + PH - u) / SH

All pixels of one phase, (h + PH) % SH and (w + PW) % SW, have the same taps u, v; seen from them,
their y lie at the same offsets. So dx is SH*SW sums over places and offsets, in a padded dy.

Padded means copied, some images at a time, into a room with margins of zeros, which stays in the L2
cache.
"""

from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from . import jit
from .memory import scratch
from .registers import BYTES, ROWS, RUN_ROWS, add_places, add_run_places, add_runs, add_terms

ROOM_BYTES = 1 << 20  # of padded images
CHUNK = 1024  # places: their products are summed before they are added to dw, for float32's sake


class Table(NamedTuple):
    """Where the numbers of a sum lie. Phases one after the other: starts[k] is where one begins."""

    room: tuple  # height, width of a padded image
    margin: tuple  # above; at the left, in numbers
    images: int  # that the tables are for
    places: np.ndarray  # in padded images, for each pixel of the result
    targets: np.ndarray  # in the result, likewise
    place_starts: np.ndarray
    offsets: np.ndarray  # from a place, for each term
    rows: np.ndarray  # of the first tile of weights, likewise
    term_starts: np.ndarray
    runs: np.ndarray  # the first offset of neighbours that fill a vector, or a part of it
    inside: np.ndarray  # how many of them
    run_starts: np.ndarray
    lanes: np.ndarray  # (runs, lanes): the row of each; -1: none
    rows_of_a_tile: int  # from one tile of weights to the next


@lru_cache(maxsize=32)
def forward_table(geometry, C, O, N, itemsize):
    """x -> y. Weights (tiles, C, KH, KW, channels of a tile)."""
    (OH, OW), (KH, KW), (SH, SW) = geometry.grid, geometry.kernel_size, geometry.stride
    room = height, width = (OH - 1) * SH + KH, (OW - 1) * SW + KW
    images = _images(height * width * C * itemsize, N)
    n, i, j = np.ogrid[:images, :OH, :OW]
    places = ((n * height + i * SH) * width + j * SW) * C
    u, v, c = np.ogrid[:KH, :KW, :C]
    offsets = (u * width + v) * C + c
    targets = np.arange(places.size) * O
    rows = (c * KH + u) * KW + v
    margin = geometry.padding[0], geometry.padding[1] * C
    return _table(
        room, margin, images, [places], [targets], [offsets], [rows], C * KH * KW, itemsize
    )


@lru_cache(maxsize=32)
def back_table(geometry, C, O, N, itemsize):
    """y -> x. Weights (O, tiles, KH, KW, channels of a tile)."""
    (H, W), grid, kernel_size, stride, padding = geometry
    sizes = [*zip((H, W), grid, kernel_size, stride, padding, strict=True)]
    margin = tuple((K - 1) // S for _, _, K, S, _ in sizes)
    room = height, width = tuple(
        before + max(OH, (H - 1 + P) // S + 1)
        for before, (H, OH, _, S, P) in zip(margin, sizes, strict=True)
    )
    images = _images(height * width * O * itemsize, N)
    n, o = np.arange(images)[:, None, None], np.arange(O)
    taps, tiles = prod(kernel_size), C // tile_width(C, itemsize)
    places, targets, offsets, rows = [], [], [], []
    for a in range(stride[0]):
        for b in range(stride[1]):
            (h, i, u, du), (w, j, v, dv) = (
                _phase(phase, before, *size)
                for phase, before, size in zip((a, b), margin, sizes, strict=True)
            )
            places.append(((n * height + i[:, None]) * width + j) * O)
            targets.append(((n * H + h[:, None]) * W + w) * C)
            u, v, du, dv = u[:, None, None], v[:, None], du[:, None, None], dv[:, None]
            offsets.append(-(du * width + dv) * O + o)
            rows.append(o * tiles * taps + u * kernel_size[1] + v)
    margin = margin[0], margin[1] * O
    return _table(room, margin, images, places, targets, offsets, rows, taps, itemsize)


def tile_width(channels, itemsize):
    """How many channels of the weights lie side by side: what the registers take, if that divides
    them. Whole rows of many channels, a multiple of 4 kB apart, would meet in a few cache lines."""
    wide = 2 * BYTES // itemsize
    return wide if channels % wide == 0 else channels


def products(image, grid, kernel_size, stride, padding, C, O):
    """About how many lanes are multiplied for an image, on average of y, dx and dw."""
    taps = prod(kernel_size)
    forward = prod(grid) * _lanes(taps * C, O)
    back = prod(image) * _lanes(taps * O / prod(stride), C)
    return (2 * forward + back) / 3


def _lanes(terms, channels):
    """The lanes used for a sum: of channels, or of a few channels' terms."""
    wide = BYTES // 4 if channels <= BYTES // 4 else BYTES // 2  # one vector of float32, or two
    return min(terms * -(-channels // wide) * wide, channels * (terms + 160))


def _images(size, N):
    return max(1, min(N, ROOM_BYTES // size))


def _phase(phase, before, H, _, K, S, P):
    """Along one axis: the pixels of a phase, and their first y in the padded image; the taps, and
    how many y each goes back."""
    pixels = np.arange((phase - P) % S, H, S)
    taps = np.arange(phase, K, S)
    return pixels, (pixels + P) // S + before, taps, taps // S


def _table(room, margin, images, places, targets, offsets, rows, rows_of_a_tile, itemsize):
    runs, inside, lanes = [], [], []
    lane = np.arange(BYTES // itemsize)
    for of_phase, its_rows in zip(offsets, rows, strict=True):
        order = np.argsort(of_phase, axis=None)
        neighbours = of_phase.ravel()[order]
        firsts, counts = _runs(neighbours, len(lane))
        runs.append(neighbours[firsts])
        inside.append(counts)
        terms = np.where(lane < counts[:, None], firsts[:, None] + lane, -1)
        lanes.append(np.append(its_rows.ravel()[order], -1)[terms])
    places, place_starts = _joined(places)
    offsets, term_starts = _joined(offsets)
    runs, run_starts = _joined(runs)
    return Table(
        room, margin, images, places, _joined(targets)[0], place_starts, offsets,
        _joined(rows)[0], term_starts, runs, np.concatenate(inside), run_starts,
        np.concatenate(lanes), rows_of_a_tile,
    )  # fmt: skip


def _runs(offsets, lanes):
    """Neighbours side by side, at most `lanes` each: the index of the first one, and how many."""
    breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
    firsts = [
        first
        for start, stop in pairwise([0, *breaks.tolist(), len(offsets)])
        for first in range(start, stop, lanes)
    ]
    firsts = np.array(firsts, np.int64)
    return firsts, np.diff(firsts, append=len(offsets))


def _joined(pieces):
    starts = np.cumsum([0, *(piece.size for piece in pieces)])
    return np.concatenate([piece.ravel() for piece in pieces]).astype(np.int64), starts


def few(table, channels):
    """Whether to take channels one by one. The sum over a vector's lanes costs about 10 loads."""
    return channels * (len(table.runs) + 10 * (len(table.run_starts) - 1)) < len(table.offsets)


class Sums:
    """y of x, or x of y, whichever the table is for. w (rows, channels of a tile)."""

    def __init__(self, table, channels, w):
        self.table, self.w, self.few = table, w, few(table, channels)
        if self.few:
            rows = np.append(w, np.zeros((1, channels), w.dtype), axis=0)
            self.w = np.ascontiguousarray(rows[table.lanes].transpose(2, 0, 1))  # (O, runs, lanes)

    def write(self, x, y, b, slope):
        """y (N, OH, OW, O) of x (N, H, W, C): for each pixel the sum of its terms, plus b, through
        leaky ReLU."""
        b = np.zeros(y.shape[-1], x.dtype) if b is None else np.ascontiguousarray(b)
        write = _write_runs if self.few else _write
        slope, y = x.dtype.type(slope), y.reshape(len(y), -1)
        write(self.table, *_rows_and_room(self.table, x), self.w, b, slope, y)


def weight_gradient(table, x, y):
    """dw (tiles, terms, channels of a tile): the products of y with the x of each term, summed over
    all places."""
    O = y.shape[-1]
    x, room = _rows_and_room(table, x)
    y = y.reshape(-1, O)
    if few(table, O):
        runs = np.append(table.runs, np.zeros(-len(table.runs) % RUN_ROWS, np.int64))
        dw = np.zeros((O, len(runs), BYTES // x.itemsize), x.dtype)
        _add_run_gradient(table, x, room, runs, y, dw)
        real = table.lanes >= 0
        in_rows = np.empty((1, len(table.rows), O), x.dtype)
        in_rows[0, table.lanes[real]] = dw[:, : len(real)][:, real].T
        return in_rows
    width = tile_width(O, x.itemsize)
    dw = np.zeros((O // width, len(table.rows), width), x.dtype)
    _add_gradient(table, x, room, y, dw)
    return dw


def _rows_and_room(table, x):
    """x, and memory for some padded images, all zero. Both are (images, rows, numbers)."""
    N, H, W, C = x.shape
    height, width = table.room
    shape = table.images, height, width * C
    room = scratch("room", (prod(shape) + BYTES,), x.dtype)  # a run's end may stick out
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
def _add_gradient(table, x, room, y, dw):
    """y (places, channels), dw (tiles, rows, channels of a tile)."""
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


@jit
def _add_run_gradient(table, x, room, runs, y, dw):
    """dw (channels, runs, lanes)."""
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
