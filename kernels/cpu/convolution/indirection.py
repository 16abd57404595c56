"""Where the numbers of a convolution lie in memory, for direct.py.

    y[n,i,j,:] = sum over u,v,c of  x[n, i*SH + u - PH, j*SW + v - PW, c]  w[u,v,c,:]

With the padded images as one flat array, the x of a term lies at places[n,i,j] + offsets[u,v,c]:
two tables that depend on the shapes alone. The transpose is the same, phase by phase. A pixel h of
x has taken part in those y[i] that lead to it with some u:

    h + PH = i*SH + u     so  u = (h + PH) % SH, or SH more, ...;  i = (h + PH - u) / SH

All pixels of one phase, (h + PH) % SH and (w + PW) % SW, have the same taps u, v; seen from them,
their y lie at the same offsets. So dx is SH*SW sums over places and offsets, in a padded dy.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from .microkernel import BYTES

ROOM_BYTES = 1 << 20  # of padded images
PLACES = 1 << 17  # of several images
SUM_OF_LANES = 10  # what the sum over a vector's lanes costs, in multiplications of vectors, about


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
    few: bool  # whether to take the channels one by one, a run of terms in the lanes; else no runs


@lru_cache(maxsize=32)
def forward_table(geometry, C, O, N, itemsize):
    """x -> y. Weights (tiles, C, KH, KW, channels of a tile)."""
    (OH, OW), (KH, KW), (SH, SW) = geometry.grid, geometry.kernel_size, geometry.stride
    room = height, width = (OH - 1) * SH + KH, (OW - 1) * SW + KW
    images = _images(height * width * C * itemsize, OH * OW, N)
    n, i, j = np.ogrid[:images, :OH, :OW]
    places = (n * height + i * SH) * width * C + j * SW * C
    u, v, c = np.ogrid[:KH, :KW, :C]
    offsets = (u * width + v) * C + c
    targets = np.arange(0, places.size * O, O)
    rows = (c * KH + u) * KW + v
    margin = geometry.padding[0], geometry.padding[1] * C
    order = np.arange(offsets.size)
    return _table(
        room, margin, images, [places], [targets], [offsets], [rows], [order], C * KH * KW, O,
        itemsize,
    )  # fmt: skip


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
    images = _images(height * width * O * itemsize, H * W, N)
    n, o = np.arange(images)[:, None, None], np.arange(O)
    taps, tiles = prod(kernel_size), C // tile_width(C, itemsize)
    places, targets, offsets, rows, orders = [], [], [], [], []
    of_rows, of_columns = (_phases(*both) for both in zip(margin, sizes, strict=True))
    for h, i, u, du in of_rows:
        for w, j, v, dv in of_columns:
            places.append((n * height + i[:, None]) * width * O + j * O)
            targets.append((n * H + h[:, None]) * W * C + w * C)
            back, tap = du[:, None] * width + dv, u[:, None] * kernel_size[1] + v  # (u, v)
            offsets.append(o - back[..., None] * O)
            rows.append(o * tiles * taps + tap[..., None])
            orders.append(_taps_backwards(*rows[-1].shape))
    beside = _beside(*sizes)
    if len(beside):  # pixels that no window reads: a phase without terms
        targets.append((n.reshape(-1, 1) * H * W + beside) * C)
        places.append(np.zeros_like(targets[-1]))
        for none in (offsets, rows, orders):
            none.append(np.zeros(0, int))
    margin = margin[0], margin[1] * O
    return _table(room, margin, images, places, targets, offsets, rows, orders, taps, C, itemsize)


def tile_width(channels, itemsize):
    """How many channels of the weights lie side by side: what the registers take, if that divides
    them. Whole rows of many channels, a multiple of 4 kB apart, would meet in a few cache lines."""
    wide = 2 * BYTES // itemsize
    return wide if channels % wide == 0 else channels


def _images(size, places, N):
    return max(1, min(N, ROOM_BYTES // size, PLACES // places))


def _phases(before, size):
    """Along one axis, of each phase that has pixels and taps: the pixels, and their first y in the
    padded image; the taps, and how many y each goes back."""
    H, _, K, S, P = size
    found = []
    for phase in range(min(S, K)):
        pixels, taps = np.arange((phase - P) % S, H, S), np.arange(phase, K, S)
        if len(pixels):
            found.append((pixels, (pixels + P) // S + before, taps, taps // S))
    return found


@lru_cache(maxsize=8)
def _taps_backwards(height, width, channels):
    """The order of terms by their offsets: a tap further down is a pixel further up."""
    order = np.arange(height * width * channels).reshape(height, width, channels)
    return order[::-1, ::-1].reshape(-1)


def _beside(rows, columns):
    """The pixels of an image whose phases have no taps."""
    met = [(np.arange(H) + P) % S < K for H, _, K, S, P in (rows, columns)]
    return np.flatnonzero(~np.outer(*met))


def _table(
    room, margin, images, places, targets, offsets, rows, orders, rows_of_a_tile, channels, itemsize
):
    """orders: of each phase's terms, by their offsets."""
    width, phases = BYTES // itemsize, len(offsets)
    places, place_starts = _joined(places)
    offsets, term_starts = _joined(offsets)
    rows, _ = _joined(rows)
    few = False
    runs, inside, run_starts = np.zeros(0, int), np.zeros(0, int), np.zeros(phases + 1, int)
    lanes = np.zeros((0, width), int)
    if channels < width:
        order = np.repeat(term_starts[:-1], np.diff(term_starts)) + _joined(orders)[0]
        firsts = _firsts(offsets[order], term_starts, width)
        few = channels * (len(firsts) + SUM_OF_LANES * phases) < len(offsets)
    if few:
        runs, inside = offsets[order[firsts]], np.diff(firsts, append=len(order))
        run_starts, lane = np.searchsorted(firsts, term_starts), np.arange(width)
        terms = np.where(lane < inside[:, None], firsts[:, None] + lane, -1)
        lanes = np.append(rows[order], -1)[terms]
    return Table(
        room, margin, images, places, _joined(targets)[0], place_starts, offsets, rows, term_starts,
        runs, inside, run_starts, lanes, rows_of_a_tile, few,
    )  # fmt: skip


def _firsts(offsets, phase_starts, width):
    """Where runs begin: neighbours side by side, at most `width` each, all of one phase."""
    at = np.arange(len(offsets))
    begins = np.diff(offsets, prepend=offsets[:1] - 2) != 1
    begins[phase_starts[phase_starts < len(offsets)]] = True
    since = at - np.maximum.accumulate(np.where(begins, at, 0))
    return np.flatnonzero(since % width == 0)


def _joined(pieces):
    starts = np.cumsum([0, *(piece.size for piece in pieces)])
    return np.concatenate([piece.reshape(-1) for piece in pieces]), starts
