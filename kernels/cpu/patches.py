"""Patches of an image as rows of a matrix, so that a convolution becomes one product of BLAS.

    gather       x (N, H, W, C)  ->  rows (N*OH*OW, KH*KW*C)     what ops/windows.py calls windows
    scatter_add  rows  ->  x                                     its transpose, add_windows

Memory order is channels-last here: KW*C neighbours of a patch lie side by side and are copied in
one run.

The rows are KH*KW/(SH*SW) times as large as the image. So the kernels go through the batch in tiles
of a few images, whose rows fit into the processor's L2 cache and are written over by the next tile:
they never travel to memory, and no page of it has to be asked for.
"""

import numpy as np

from . import jit


def gather(x, rows, grid, kernel_size, stride, padding):
    """x (N, H, W, C) -> rows (N*OH*OW, KH*KW*C), written for the grid (OH, OW) of patches."""
    N, H, W, C = x.shape
    rows = rows.reshape(N, *grid, kernel_size[0], -1)
    _gather(x.reshape(N, H, W * C), rows, C, *stride, *padding)


def scatter_add(rows, x, grid, kernel_size, stride, padding):
    """rows (N*OH*OW, KH*KW*C) -> x (N, H, W, C), added: overlaps sum, what sticks out is lost."""
    N, H, W, C = x.shape
    rows = rows.reshape(N, *grid, kernel_size[0], -1)
    _scatter_add(rows, x.reshape(N, H, W * C), C, *stride, *padding)


# The loops below read and write runs: KW*C neighbours, of which the cells first..last lie inside
# the image. Long runs are taken as slices, whose indices start at 0: that lets LLVM use SIMD. Short
# ones would be all overhead: there the inner loop goes along the image, for one cell of all runs.

SHORT = 16


@jit
def _gather(x, rows, C, SH, SW, PH, PW):
    N, OH, OW, KH, run = rows.shape
    H, W = x.shape[1:]  # W counts numbers: image width times C
    inside = np.empty((run, 2), np.int64)  # of cell k: the first j inside the image, and the end
    for k in range(run):
        at = k - PW * C  # for j = 0
        inside[k, 0] = min(OW, max(0, -(at // (SW * C))))
        inside[k, 1] = max(inside[k, 0], min(OW, (W - 1 - at) // (SW * C) + 1))
    for n in range(N):
        for i in range(OH):
            for u in range(KH):
                h = i * SH - PH + u
                if h < 0 or h >= H:
                    rows[n, i, :, u] = 0
                elif run < SHORT:
                    for k in range(run):
                        left, right = inside[k]
                        at = k + (left * SW - PW) * C
                        rows[n, i, :left, u, k] = 0
                        for j in range(right - left):
                            rows[n, i, left + j, u, k] = x[n, h, at + j * SW * C]
                        rows[n, i, right:, u, k] = 0
                else:
                    for j in range(OW):
                        start = (j * SW - PW) * C  # of the run in its image row; it may stick out
                        first = min(run, max(0, -start))
                        last = max(first, min(run, W - start))
                        rows[n, i, j, u, :first] = 0
                        source, target = x[n, h, start + first :], rows[n, i, j, u, first:last]
                        for k in range(target.size):
                            target[k] = source[k]
                        rows[n, i, j, u, last:] = 0


@jit
def _scatter_add(rows, x, C, SH, SW, PH, PW):
    N, OH, OW, KH, run = rows.shape
    H, W = x.shape[1:]
    for n in range(N):
        for i in range(OH):
            for j in range(OW):
                start = (j * SW - PW) * C
                first, last = max(0, -start), min(run, W - start)
                for u in range(KH):
                    h = i * SH - PH + u
                    if h < 0 or h >= H or first >= last:
                        continue
                    source = rows[n, i, j, u]
                    if run < SHORT:
                        for k in range(first, last):
                            x[n, h, start + k] += source[k]
                    else:
                        source, target = source[first:last], x[n, h, start + first :]
                        for k in range(source.size):
                            target[k] += source[k]
