"""The indirection buffers of a convolution: the memory offsets of its terms, for direct.py.

    y[n,i,j,:] = sum over u,v,c of  x[n, i*SH + u - PH, j*SW + v - PW, c]  w[u,v,c,:]

In the flat padded images the x of a term is at windows[n,i,j] + offsets[u,v,c], which depend on
shapes alone. (Dukhan, "The Indirect Convolution Algorithm", arXiv:1907.02129, stores a pointer to a
row of pixels for each tap of each output.)

The transpose works phase by phase. A pixel h of x contributes to y[i] through tap u if

    h + PH = i*SH + u     so  u = (h + PH) % SH, or SH more, ...;  i = (h + PH - u) / SH

All pixels of one phase, (h + PH) % SH and (w + PW) % SW, have the same taps u, v, and their y is at
the same offsets. So dx is computed as SH*SW sums over windows and offsets, in a padded dy.
"""

from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from .microkernel import VECTOR_BYTES

PADDED_BYTES = 1 << 20  # of padded images
WINDOWS = 1 << 17  # of several images
SUM_OF_LANES = 10  # rough cost of the sum over a vector's lanes, in multiplications of vectors


class IndirectionBuffer(NamedTuple):
    """Offsets of the terms. Phase k has the windows from window_bounds[k] to [k + 1], and so on."""

    padded_size: tuple  # height, width of a padded image
    margin: tuple  # above, in rows; on the left, in numbers
    images: int  # how many images the buffer describes
    panel_rows: int  # from one panel of weights to the next
    windows: np.ndarray  # offset of each result pixel's window in the padded images
    targets: np.ndarray  # offset of each pixel in the result
    window_bounds: np.ndarray
    offsets: np.ndarray  # of each term, from the start of a window
    rows: np.ndarray  # row of each term's weights in the first panel
    term_bounds: np.ndarray
    runs: np.ndarray  # first offset of each run of neighbours, which fill a vector or part of it
    run_lengths: np.ndarray  # number of neighbours
    run_bounds: np.ndarray
    lanes: np.ndarray  # (runs, lanes): the weight row of each lane, or -1
    few_channels: bool  # whether the lanes hold runs of terms, one channel at a time


@lru_cache(maxsize=32)
def forward_buffer(geometry, C, O, N, itemsize):
    """x -> y. Weights (panels, C, KH, KW, channels of a panel)."""
    (OH, OW), (KH, KW), (SH, SW) = geometry.grid, geometry.kernel_size, geometry.stride
    padded_size = height, width = (OH - 1) * SH + KH, (OW - 1) * SW + KW
    images = _images(height * width * C * itemsize, OH * OW, N)
    n, i, j = np.ogrid[:images, :OH, :OW]
    windows = (n * height + i * SH) * width * C + j * SW * C
    u, v, c = np.ogrid[:KH, :KW, :C]
    offsets = (u * width + v) * C + c
    targets = np.arange(0, windows.size * O, O)
    rows = (c * KH + u) * KW + v
    margin = geometry.padding[0], geometry.padding[1] * C
    order = np.arange(offsets.size)
    shared = padded_size, margin, images, C * KH * KW
    return _buffer(shared, [windows], [targets], [offsets], [rows], [order], O, itemsize)


@lru_cache(maxsize=32)
def back_buffer(geometry, C, O, N, itemsize):
    """y -> x. Weights (O, panels, KH, KW, channels of a panel)."""
    (H, W), grid, kernel_size, stride, padding = geometry
    sizes = [*zip((H, W), grid, kernel_size, stride, padding, strict=True)]
    margin = tuple((K - 1) // S for _, _, K, S, _ in sizes)
    padded_size = height, width = tuple(
        before + max(OH, (H - 1 + P) // S + 1)
        for before, (H, OH, _, S, P) in zip(margin, sizes, strict=True)
    )
    images = _images(height * width * O * itemsize, H * W, N)
    n, o = np.arange(images)[:, None, None], np.arange(O)
    taps, panels = prod(kernel_size), C // panel_width(C, itemsize)
    windows, targets, offsets, rows, orders = [], [], [], [], []
    of_rows, of_columns = (_phases(*both) for both in zip(margin, sizes, strict=True))
    for h, i, u, du in of_rows:
        for w, j, v, dv in of_columns:
            windows.append((n * height + i[:, None]) * width * O + j * O)
            targets.append((n * H + h[:, None]) * W * C + w * C)
            back, tap = du[:, None] * width + dv, u[:, None] * kernel_size[1] + v  # (u, v)
            offsets.append(o - back[..., None] * O)
            rows.append(o * panels * taps + tap[..., None])
            orders.append(_taps_backwards(*rows[-1].shape))
    beside = _beside(*sizes)
    if len(beside):  # pixels that no window reads form a phase without terms
        targets.append((n.reshape(-1, 1) * H * W + beside) * C)
        windows.append(np.zeros_like(targets[-1]))
        for none in (offsets, rows, orders):
            none.append(np.zeros(0, int))
    shared = padded_size, (margin[0], margin[1] * O), images, taps
    return _buffer(shared, windows, targets, offsets, rows, orders, C, itemsize)


def panel_width(channels, itemsize):
    """Channels in a packed panel: NR of the widest tile if it divides the channels, else all. Rows
    a multiple of 4 kB apart would compete for the same few cache sets."""
    wide = 2 * VECTOR_BYTES // itemsize
    return wide if channels % wide == 0 else channels


def _images(size, windows, N):
    return max(1, min(N, PADDED_BYTES // size, WINDOWS // windows))


def _phases(before, size):
    """Per phase with pixels and taps: pixels, their first padded y, taps, steps back of taps."""
    H, _, K, S, P = size
    found = []
    for phase in range(min(S, K)):
        pixels, taps = np.arange((phase - P) % S, H, S), np.arange(phase, K, S)
        if len(pixels):
            found.append((pixels, (pixels + P) // S + before, taps, taps // S))
    return found


@lru_cache(maxsize=8)
def _taps_backwards(height, width, channels):
    """The order of terms by offset: reversed in u and v, as a lower tap reads a higher row of y."""
    order = np.arange(height * width * channels).reshape(height, width, channels)
    return order[::-1, ::-1].reshape(-1)


def _beside(rows, columns):
    """The pixels of an image whose phases have no taps."""
    met = [(np.arange(H) + P) % S < K for H, _, K, S, P in (rows, columns)]
    return np.flatnonzero(~np.outer(*met))


def _buffer(shared, windows, targets, offsets, rows, orders, channels, itemsize):
    """shared: the fields common to all phases; the lists have an array per phase."""
    width, phases = VECTOR_BYTES // itemsize, len(offsets)
    windows, window_bounds = _joined(windows)
    offsets, term_bounds = _joined(offsets)
    rows, _ = _joined(rows)
    few_channels = False
    runs, run_lengths, run_bounds = np.zeros(0, int), np.zeros(0, int), np.zeros(phases + 1, int)
    lanes = np.zeros((0, width), int)
    if channels < width:
        order = np.repeat(term_bounds[:-1], np.diff(term_bounds)) + _joined(orders)[0]
        firsts = _firsts(offsets[order], term_bounds, width)
        few_channels = channels * (len(firsts) + SUM_OF_LANES * phases) < len(offsets)
    if few_channels:
        runs, run_lengths = offsets[order[firsts]], np.diff(firsts, append=len(order))
        run_bounds, lane = np.searchsorted(firsts, term_bounds), np.arange(width)
        terms = np.where(lane < run_lengths[:, None], firsts[:, None] + lane, -1)
        lanes = np.append(rows[order], -1)[terms]
    of_windows = windows, _joined(targets)[0], window_bounds
    of_terms = offsets, rows, term_bounds
    of_runs = runs, run_lengths, run_bounds, lanes, few_channels
    return IndirectionBuffer(*shared, *of_windows, *of_terms, *of_runs)


def _firsts(offsets, phase_bounds, width):
    """Where runs begin: a run has at most `width` neighbouring terms of one phase."""
    at = np.arange(len(offsets))
    begins = np.diff(offsets, prepend=offsets[:1] - 2) != 1
    begins[phase_bounds[phase_bounds < len(offsets)]] = True
    since = at - np.maximum.accumulate(np.where(begins, at, 0))
    return np.flatnonzero(since % width == 0)


def _joined(pieces):
    starts = np.cumsum([0, *(piece.size for piece in pieces)])
    return np.concatenate([piece.reshape(-1) for piece in pieces]), starts
