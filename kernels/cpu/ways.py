"""The ways to compute a correlation and its gradients, on one core: see correlation.py.

All have the same methods. `correlate`, `correlate_back` and `gradients` take images of a batch, in
memory as the way wants them, and write their results into arrays they are given.
"""

from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from . import leaky_relu, toom_cook
from .layout import to_nchw, to_nhwc, to_planes
from .memory import empty, scratch
from .patches import gather, scatter_add
from .planes import gather_planes, scatter_add_planes
from .rows import finish_rows, through_activation
from .threads import cores

TILE_BYTES = 1 << 20  # of patches: they stay in the L2 cache


class Geometry(NamedTuple):
    """Pairs, for height and width."""

    image: tuple  # of x
    grid: tuple  # of y
    kernel_size: tuple
    stride: tuple
    padding: tuple


class _Way:
    """What the ways have in common. Arrays of their methods lie in memory as they want them."""

    large, to_nchw = staticmethod(to_nhwc), staticmethod(to_nchw)

    def __init__(self, N, w, geometry, cost):
        self.shape = w.shape
        self.C, _, _, self.O = w.shape
        self.geometry, self.cost = geometry, cost  # nanoseconds on one core, for all images

    def empty_large(self, N, dtype):
        return empty((N, *self.geometry.image, self.C), dtype)

    def through_activation(self, dx, x, slope):
        """Of the large image: see rows.py."""
        dh, db = through_activation(dx.reshape(-1, self.C), x.reshape(-1, self.C), slope)
        return dh.reshape(dx.shape), db

    def prepare_back(self):
        """What correlate_back, and gradients with x_out, need."""

    def _tiles(self, x):
        """Cut images into tiles: (slice, their number of patches, memory for them)."""
        patches = prod(self.geometry.grid)
        images = max(1, TILE_BYTES // (patches * len(self.w) * x.itemsize))
        memory = scratch("rows", (min(len(x), images) * patches * len(self.w),), x.dtype)
        for start in range(0, len(x), images):
            tile = slice(start, min(start + images, len(x)))
            count = (tile.stop - start) * patches
            yield tile, count, memory[: count * len(self.w)]


class _Patches(_Way):
    """Patches times weights. See patches.py."""

    def __init__(self, N, w, geometry, cost):
        super().__init__(N, w, geometry, cost)
        self.w = w.transpose(1, 2, 0, 3).reshape(-1, self.O)  # (KH*KW*C, O)

    def correlate(self, x, y, b, slope):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(count, -1)  # (n*OH*OW, KH*KW*C)
            gather(x[tile], rows, *self.geometry[1:])
            y_rows = y[tile].reshape(-1, self.O)
            finish_rows(np.matmul(rows, self.w, out=y_rows), b, slope)

    def correlate_back(self, y, x, b, slope):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(count, -1)
            np.matmul(y[tile].reshape(-1, self.O), self.w.T, out=rows)
            x[tile] = 0
            scatter_add(rows, x[tile], *self.geometry[1:])
            finish_rows(x[tile].reshape(-1, self.C), b, slope)

    def gradients(self, x, y, x_out=None, y_out=None):
        dw, dw_tile = np.zeros_like(self.w), scratch("dw", self.w.shape, x.dtype)
        for tile, count, memory in self._tiles(x):
            rows, y_rows = memory.reshape(count, -1), y[tile].reshape(-1, self.O)
            gather(x[tile], rows, *self.geometry[1:])
            dw += np.matmul(rows.T, y_rows, out=dw_tile)
            if y_out is not None:
                np.matmul(rows, self.w, out=y_out[tile].reshape(-1, self.O))
            if x_out is not None:
                np.matmul(y_rows, self.w.T, out=rows)
                x_out[tile] = 0
                scatter_add(rows, x_out[tile], *self.geometry[1:])
        return dw

    def finish(self, dw):
        """dw (C, KH, KW, O)."""
        dw = dw.reshape(*self.geometry.kernel_size, self.C, self.O)
        return np.ascontiguousarray(dw.transpose(2, 0, 1, 3))


class _Planes(_Way):
    """Patches times weights, turned over, x plane by plane. See planes.py."""

    large, to_nchw = staticmethod(to_planes), staticmethod(lambda x: x)

    def __init__(self, N, w, geometry, cost):
        super().__init__(N, w, geometry, cost)
        self.w = w.reshape(-1, self.O)  # (C*KH*KW, O)

    def empty_large(self, N, dtype):
        return empty((N, self.C, *self.geometry.image), dtype)

    def through_activation(self, dx, x, slope):
        dh = dx
        if slope != 1:
            dh = empty(dx.shape, dx.dtype)
            flat_dx, flat_x, flat_dh = (a.reshape(-1) for a in (dx, x, dh))
            leaky_relu._backward(flat_dx, flat_x, x.dtype.type(slope), flat_dh)
        return dh, dh.sum(axis=(2, 3)).sum(axis=0)

    def correlate(self, x, y, b, slope):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(-1, count)  # (C*KH*KW, n*OH*OW)
            gather_planes(x[tile], rows, *self.geometry[1:])
            y_rows = y[tile].reshape(-1, self.O)
            finish_rows(np.matmul(rows.T, self.w, out=y_rows), b, slope)

    def correlate_back(self, y, x, b, slope):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(-1, count)
            np.matmul(self.w, y[tile].reshape(-1, self.O).T, out=rows)
            x[tile] = 0 if b is None else b[:, None, None]
            scatter_add_planes(rows, x[tile], *self.geometry[1:])
            if slope != 1:
                flat = x[tile].reshape(-1)
                leaky_relu._forward(flat, x.dtype.type(slope), flat)

    def gradients(self, x, y, x_out=None, y_out=None):
        dw, dw_tile = np.zeros_like(self.w), scratch("dw", self.w.shape, x.dtype)
        for tile, count, memory in self._tiles(x):
            rows, y_rows = memory.reshape(-1, count), y[tile].reshape(-1, self.O)
            gather_planes(x[tile], rows, *self.geometry[1:])
            dw += np.matmul(rows, y_rows, out=dw_tile)
            if y_out is not None:
                np.matmul(rows.T, self.w, out=y_out[tile].reshape(-1, self.O))
            if x_out is not None:
                np.matmul(self.w, y_rows.T, out=rows)
                x_out[tile] = 0
                scatter_add_planes(rows, x_out[tile], *self.geometry[1:])
        return dw

    def finish(self, dw):
        return dw


class _ToomCook(_Way):
    """With fewer products. See toom_cook.py."""

    def __init__(self, N, w, geometry, cost, tile):
        super().__init__(N, w, geometry, cost)
        images = -(-N // cores())
        self.plan = toom_cook.plan(images, *geometry, self.C, self.O, w.dtype, tile)
        self.U, self.U_back = toom_cook.transform_weights(self.plan, w), None

    def prepare_back(self):
        self.U_back = toom_cook.transposed(self.plan, self.U)

    def correlate(self, x, y, b, slope):
        toom_cook.correlate(self.plan, x, self.U, y, b, slope)

    def correlate_back(self, y, x, b, slope):
        toom_cook.correlate_back(self.plan, y, self.U_back, x, b, slope)

    def gradients(self, x, y, x_out=None, y_out=None):
        return toom_cook.weight_gradient(self.plan, x, y, x_out, self.U_back, y_out, self.U)

    def finish(self, dU):
        dw = np.empty(self.shape, dU.dtype)
        toom_cook.transform_weights_back(self.plan, dU, dw)
        return dw


WAYS = {
    "planes": _Planes,
    "patches": _Patches,
    "toom_cook_2": partial(_ToomCook, tile=2),
    "toom_cook_4": partial(_ToomCook, tile=4),
}
