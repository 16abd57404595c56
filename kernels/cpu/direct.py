"""A correlation and its transpose without patches, products included: see registers.py.

    y[n,i,j,:] = sum over u,v,c of  x[n, i*SH + u - PH, j*SW + v - PW, c]  w[u,v,c,:]

With the padded images as one flat array, the x of a term lies at places[n,i,j] + offsets[u,v,c]:
two tables that depend on the shapes alone. The transpose is the same, phase by phase. A pixel h of
x has taken part only in those y[i] whose step i*SH leads to it:

    h + PH = i*SH + u     so  u = (h + PH) % SH,  and from there in steps of SH;  i = (h + PH - u) / SH

All pixels of one phase, (h + PH) % SH and (w + PW) % SW, have the same taps u, v; seen from them,
their y lie at the same offsets. So dx is SH*SW sums over places and offsets, of a padded dy.
"""

from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import NamedTuple

import numpy as np

from . import jit
from .memory import scratch
from .registers import BYTES, ROWS, RUN_ROWS, add_places, add_run_places, add_runs, add_terms

ROOM_BYTES = 1 << 19  # of padded images: they stay in the L2 cache
CHUNK = 1024  # places whose products are summed up in one go, so that float32 loses no digits


class Table(NamedTuple):
    """Where the numbers of a sum lie. Phases one after the other: starts[k] is where one begins."""

    room: tuple  # height, width of a padded image
    margin: tuple  # above, left
    images: int  # that the tables are for
    places: np.ndarray  # in padded images, for each pixel of the result
    targets: np.ndarray  # in the result, likewise
    place_starts: np.ndarray
    taps: np.ndarray  # u*KW + v of each, in the order of the terms
    offsets: np.ndarray  # from a place, for each term
    term_starts: np.ndarray
    runs: np.ndarray  # the first offset of neighbours that fill a vector, or a part of it
    inside: np.ndarray  # how many of them
    run_starts: np.ndarray
    lanes: np.ndarray  # (runs, lanes): which term it is; -1: none


@lru_cache(maxsize=256)
def forward_table(geometry, C, O, N, itemsize):
    """x -> y."""
    (OH, OW), (KH, KW), (SH, SW) = geometry.grid, geometry.kernel_size, geometry.stride
    room = height, width = (OH - 1) * SH + KH, (OW - 1) * SW + KW
    images = _images(height * width * C * itemsize, N)
    n, i, j = np.ogrid[:images, :OH, :OW]
    places = ((n * height + i * SH) * width + j * SW) * C
    u, v, c = np.ogrid[:KH, :KW, :C]
    offsets = (u * width + v) * C + c
    targets = np.arange(places.size) * O
    taps = np.arange(KH * KW)
    return _table(room, geometry.padding, images, [places], [targets], [taps], [offsets], itemsize)


@lru_cache(maxsize=256)
def back_table(geometry, C, O, N, itemsize):
    """y -> x."""
    (H, W), grid, kernel_size, stride, padding = geometry
    sizes = [*zip((H, W), grid, kernel_size, stride, padding, strict=True)]
    margin = tuple((K - 1) // S for _, _, K, S, _ in sizes)
    room = height, width = tuple(
        before + max(OH, (H - 1 + P) // S + 1)
        for before, (H, OH, _, S, P) in zip(margin, sizes, strict=True)
    )
    images = _images(height * width * O * itemsize, N)
    n, o = np.arange(images)[:, None, None], np.arange(O)
    places, targets, taps, offsets = [], [], [], []
    for a in range(stride[0]):
        for b in range(stride[1]):
            (h, i, u, du), (w, j, v, dv) = (
                _phase(phase, before, *size)
                for phase, before, size in zip((a, b), margin, sizes, strict=True)
            )
            places.append(((n * height + i[:, None]) * width + j) * O)
            targets.append(((n * H + h[:, None]) * W + w) * C)
            taps.append(u[:, None] * kernel_size[1] + v)
            offsets.append(-(du[:, None, None] * width + dv[:, None]) * O + o)
    return _table(room, margin, images, places, targets, taps, offsets, itemsize)


def products(image, grid, kernel_size, stride, padding, C, O):
    """About how many lanes are multiplied for an image, on average of y, dx and dw."""
    taps = prod(kernel_size)
    forward = prod(grid) * _lanes(taps * C, O)
    back = prod(image) * _lanes(taps * O / prod(stride), C)
    return (2 * forward + back) / 3


def _lanes(terms, channels):
    """The lanes used for a sum: of channels, or of a few channels' terms."""
    _, _, wide = _tile(channels, 4)
    return min(terms * -(-channels // wide) * wide, channels * (terms + 160))


def _images(size, N):
    return max(1, min(N, ROOM_BYTES // size))


def _phase(phase, before, H, _, K, S, P):
    """Along one axis: the pixels of a phase, and their first y in the padded image; the taps, and
    how many y each goes back, from the farthest to the nearest."""
    pixels = np.arange((phase - P) % S, H, S)
    taps = np.arange(phase, K, S)[::-1]
    return pixels, (pixels + P) // S + before, taps, taps // S


def _table(room, margin, images, places, targets, taps, offsets, itemsize):
    runs, inside, lanes, terms = [], [], [], 0
    for of_phase in offsets:
        firsts, counts = _runs(of_phase.ravel(), BYTES // itemsize)
        runs.append(of_phase.ravel()[firsts])
        inside.append(counts)
        lane = np.arange(BYTES // itemsize)
        lanes.append(np.where(lane < counts[:, None], firsts[:, None] + lane + terms, -1))
        terms += of_phase.size
    places, place_starts = _joined(places)
    offsets, term_starts = _joined(offsets)
    runs, run_starts = _joined(runs)
    return Table(
        room, margin, images, places, _joined(targets)[0], place_starts, _joined(taps)[0],
        offsets, term_starts, runs, np.concatenate(inside), run_starts, np.concatenate(lanes),
    )  # fmt: skip


def _runs(offsets, lanes):
    """Neighbours side by side, at most `lanes` of them: the index of each first one, and how many."""
    breaks = np.flatnonzero(np.diff(offsets) != 1) + 1
    firsts = [
        first
        for start, stop in pairwise([0, *breaks.tolist(), len(offsets)])
        for first in range(start, stop, lanes)
    ]
    firsts = np.array(firsts, np.int64)
    ends = np.minimum(np.append(firsts[1:], len(offsets)), firsts + lanes)
    return firsts, ends - firsts


def _joined(pieces):
    return (
        np.concatenate([piece.ravel() for piece in pieces]),
        np.cumsum([0, *(piece.size for piece in pieces)]),
    )


class Sums:
    """y of x, or x of y, by a table. w (terms, channels)."""

    def __init__(self, table, w):
        self.table, self.channels = table, w.shape[1]
        self.few = few(table, self.channels, w.itemsize)
        if self.few:
            rows = np.append(w, np.zeros((1, self.channels), w.dtype), axis=0)
            self.w = np.ascontiguousarray(rows[table.lanes].transpose(2, 0, 1))  # (O, runs, lanes)
        else:
            self.w = _whole_tiles(w)

    def write(self, x, y, b, slope):
        """y (N, OH, OW, O) of x (N, H, W, C): for each pixel the sum of its terms, plus b, through
        leaky ReLU."""
        table, channels = self.table, self.channels
        bias = np.zeros(len(self.w) * self.w.shape[2], x.dtype)
        if b is not None:
            bias[:channels] = b
        images = *_flat_rows(table, x), table.images, table.places, table.targets, table.place_starts
        results = self.w, bias, x.dtype.type(slope), y.reshape(len(y), -1), channels
        if self.few:
            _correlate_runs(*images, table.runs, table.inside, table.run_starts, *results)
        else:
            vectors, rows, _ = _tile(channels, x.itemsize)
            _correlate(*images, table.offsets, table.term_starts, *results, vectors, rows)


def few(table, channels, itemsize):
    """Whether to take the channels one by one. The sum of a vector's lanes costs about 10 loads."""
    return channels * (len(table.runs) + 10 * (len(table.run_starts) - 1)) < len(table.offsets)


def weight_gradient(table, x, y):
    """dw (terms, O): the products of y with the x of each term, summed over all places."""
    O, terms = y.shape[-1], len(table.offsets)
    y = y.reshape(len(y), -1)
    images = *_flat_rows(table, x), table.images, table.places
    if few(table, O, x.itemsize):
        runs = _filled_up(table.runs, RUN_ROWS)
        dw = np.zeros((O, len(runs), BYTES // x.itemsize), x.dtype)
        _gradient_runs(*images, runs, y, dw)
        lanes = table.lanes
        return dw[:, : len(lanes)][:, lanes >= 0].T  # in the order of the terms
    vectors, rows, wide = _tile(O, x.itemsize)
    offsets = _filled_up(table.offsets, rows)
    dw = np.zeros((-(-O // wide), len(offsets), wide), x.dtype)
    _gradient(*images, offsets, y, dw, O, vectors, rows)
    return dw[:, :terms].transpose(1, 0, 2).reshape(terms, -1)[:, :O]


def _filled_up(numbers, rows):
    """With zeros, to whole tiles."""
    whole = np.zeros(-(-len(numbers) // rows) * rows, np.int64)
    whole[: len(numbers)] = numbers
    return whole


def _whole_tiles(w):
    """(terms, channels) -> (tiles, terms, width of a tile), the last one filled up with zeros."""
    terms, channels = w.shape
    _, _, wide = _tile(channels, w.itemsize)
    whole = np.zeros((terms, -(-channels // wide) * wide), w.dtype)
    whole[:, :channels] = w
    return np.ascontiguousarray(whole.reshape(terms, -1, wide).transpose(1, 0, 2))


def _tile(channels, itemsize):
    """Of sums: its vectors, its rows, its channels."""
    lanes = BYTES // itemsize
    vectors = 1 if channels <= lanes else 2
    return vectors, ROWS[vectors], vectors * lanes


def _flat_rows(table, x):
    """x, room for some padded images, both (images, rows, numbers), and the room's margins."""
    N, H, W, C = x.shape
    (height, room_width), (top, left) = table.room, table.margin
    size = table.images * height * room_width * C
    room = scratch("room", (size + BYTES,), x.dtype)  # a run at the end is looked at beyond it
    room.fill(0)
    room = room[:size].reshape(table.images, height, room_width * C)
    return x.reshape(N, H, W * C), room, top, left * C


@jit
def _copy(x, room, top, left):
    """Images into the room, inside its margins. What does not fit in is reached by no tap."""
    width = min(x.shape[2], room.shape[2] - left)
    for n in range(x.shape[0]):
        for h in range(min(x.shape[1], room.shape[1] - top)):
            source, target = x[n, h], room[n, top + h, left:]
            for k in range(width):
                target[k] = source[k]


@jit
def _correlate(
    x, room, top, left, images, places, targets, place_starts, offsets, term_starts, w, b, slope,
    y, channels, vectors, rows,
):  # fmt: skip
    for n in range(0, len(x), images):
        count = min(images, len(x) - n)
        _copy(x[n : n + count], room, top, left)
        y_images = y[n:]
        for k in range(len(place_starts) - 1):
            start = place_starts[k]
            stop = start + (place_starts[k + 1] - start) // images * count
            taps = offsets[term_starts[k] : term_starts[k + 1]]
            for tile in range(len(w)):
                weights, c = w[tile, term_starts[k] : term_starts[k + 1]], tile * w.shape[2]
                for at in range(start, stop, rows):
                    if vectors == 1:
                        add_terms(room, places, taps, weights, b, slope, y_images, targets,
                                  at, stop, c, channels, 1)  # fmt: skip
                    else:
                        add_terms(room, places, taps, weights, b, slope, y_images, targets,
                                  at, stop, c, channels, 2)  # fmt: skip


@jit
def _gradient(
    x, room, top, left, images, places, offsets, y, dw, channels, vectors, rows
):
    for n in range(0, len(x), images):
        count = min(images, len(x) - n)
        _copy(x[n : n + count], room, top, left)
        y_images = y[n:]
        end = len(places) // images * count
        for first in range(0, end, CHUNK):
            last = min(first + CHUNK, end)
            for tile in range(len(dw)):
                c = tile * dw.shape[2]
                for t in range(0, dw.shape[1], rows):
                    if vectors == 1:
                        add_places(room, places, offsets, y_images, dw[tile], first, last, t, c,
                                   channels, 1)  # fmt: skip
                    else:
                        add_places(room, places, offsets, y_images, dw[tile], first, last, t, c,
                                   channels, 2)  # fmt: skip


@jit
def _correlate_runs(
    x, room, top, left, images, places, targets, place_starts, runs, inside, run_starts, w, b,
    slope, y, channels,
):  # fmt: skip
    for n in range(0, len(x), images):
        count = min(images, len(x) - n)
        _copy(x[n : n + count], room, top, left)
        y_images = y[n:]
        for k in range(len(place_starts) - 1):
            start = place_starts[k]
            stop = start + (place_starts[k + 1] - start) // images * count
            first, last = run_starts[k], run_starts[k + 1]
            for at in range(start, stop, RUN_ROWS):
                for c in range(channels):
                    add_runs(room, places, runs[first:last], inside[first:last],
                             w[c, first:last], b[c], slope, y_images, targets, at, stop, c)  # fmt: skip


@jit
def _gradient_runs(x, room, top, left, images, places, runs, y, dw):
    channels = len(dw)
    for n in range(0, len(x), images):
        count = min(images, len(x) - n)
        _copy(x[n : n + count], room, top, left)
        y_images = y[n:]
        end = len(places) // images * count
        for first in range(0, end, CHUNK):
            last = min(first + CHUNK, end)
            for k in range(0, len(runs), RUN_ROWS):
                for c in range(channels):
                    add_run_places(room, places, runs, y_images, dw[c], first, last, k, c, channels)  # fmt: skip
