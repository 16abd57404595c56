"""Patches of images with few channels: one row for each cell of the window, not for each patch.

    gather_planes       x (N, C, H, W)  ->  rows (C*KH*KW, N*OH*OW)
    scatter_add_planes  rows  ->  x                                   its transpose

With one channel or three there are no long runs of neighbours to copy for a patch. Turned over they
are long again: cell (c, u, v) of all patches of a line is a line of plane c, shifted; every SW-th
pixel of it.
"""

from . import jit


def gather_planes(x, rows, grid, kernel_size, stride, padding):
    """Write rows, for the grid (OH, OW) of patches."""
    _gather(x, _cells(x, rows, grid, kernel_size), *stride, *padding)


def scatter_add_planes(rows, x, grid, kernel_size, stride, padding):
    """Add rows to x: overlaps sum, what sticks out is lost."""
    _scatter_add(_cells(x, rows, grid, kernel_size), x, *stride, *padding)


def _cells(x, rows, grid, kernel_size):
    N, C = x.shape[:2]
    return rows.reshape(C, *kernel_size, N, *grid)


@jit
def _inside(v, W, OW, SW, PW):
    """The first patch of a line whose column v is in the image, and the end: those before reach out
    on the left, those from the end on to the right."""
    first = min(OW, max(0, -((v - PW) // SW)))
    return first, max(first, min(OW, (W - 1 + PW - v) // SW + 1))


@jit
def _gather(x, rows, SH, SW, PH, PW):
    C, KH, KW, N, OH, OW = rows.shape
    H, W = x.shape[2:]
    for c in range(C):
        for u in range(KH):
            for v in range(KW):
                first, last = _inside(v, W, OW, SW, PW)
                for n in range(N):
                    for i in range(OH):
                        h, row = i * SH - PH + u, rows[c, u, v, n, i]
                        if h < 0 or h >= H:
                            row[:] = 0
                            continue
                        row[:first] = 0
                        row[last:] = 0
                        line = x[n, c, h, first * SW - PW + v :]
                        inside = row[first:last]
                        if SW == 1:  # LLVM makes SIMD of this one
                            for j in range(inside.size):
                                inside[j] = line[j]
                        else:
                            for j in range(inside.size):
                                inside[j] = line[j * SW]


@jit
def _scatter_add(rows, x, SH, SW, PH, PW):
    C, KH, KW, N, OH, OW = rows.shape
    H, W = x.shape[2:]
    for c in range(C):
        for n in range(N):
            for u in range(KH):
                for v in range(KW):
                    first, last = _inside(v, W, OW, SW, PW)
                    for i in range(OH):
                        h = i * SH - PH + u
                        if h < 0 or h >= H:
                            continue
                        line = x[n, c, h, first * SW - PW + v :]
                        inside = rows[c, u, v, n, i, first:last]
                        if SW == 1:
                            for j in range(inside.size):
                                line[j] += inside[j]
                        else:
                            for j in range(inside.size):
                                line[j * SW] += inside[j]
