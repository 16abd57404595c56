"""The correlation that both convolution layers are made of, between a large and a small image.

    x (N, C, H, W) large,  y (N, O, OH, OW) small,  w (C, KH, KW, O)

    correlate         x -> y          conv2d's forward,            conv_transpose2d's dx
    correlate_back    y -> x          conv_transpose2d's forward,  conv2d's dx
    ..._gradients     x, y -> dw      of both, with the dx of one of them on the way

There are three ways to compute it: patches times weights; the same turned over, for few channels;
and the way of Toom and Cook, with fewer products, which pays where there are many channels and
images. `prepare` chooses. In memory y has its channels last; x as the way wants it, see `large`.
"""

from functools import partial
from math import prod
from typing import NamedTuple

import numpy as np

from . import toom_cook
from .layout import to_nchw, to_nhwc, to_planes, turned
from .memory import empty, scratch
from .patches import gather, scatter_add
from .planes import gather_planes, scatter_add_planes
from .rows import sum_of_rows
from .threads import cores, share

TILE_BYTES = 1 << 20  # of patches: they stay in the L2 cache
FEW = 4  # channels of the large image


class Geometry(NamedTuple):
    """Pairs, for height and width."""

    image: tuple  # of x
    grid: tuple  # of y
    kernel_size: tuple
    stride: tuple
    padding: tuple


def prepare(N, w, geometry):
    """The way that should be the fastest one for N images, with the weights as it wants them."""
    name, cost = fastest(N, w.shape, geometry)
    return WAYS[name](N, w, geometry, cost)


def fastest(N, shape, geometry):
    """The name of a way, and its cost: about how many nanoseconds it takes on one core.

    From timings of single layers: 0.02 for a product, 0.15 for a number copied into a patch, 0.5
    for one transformed; 0.75 for one of U, while the other cores wait.
    """
    C, KH, KW, O = shape
    costs = {"patches": N * prod(geometry.grid) * KH * KW * C * (0.02 * O + 0.15)}
    if C <= FEW:
        return "planes", costs["patches"]
    for tile in (2, 4):
        V, M, U = toom_cook.sizes(*geometry, tile)
        images = N * (0.02 * V * C * O + 0.5 * (V * C + M * O))
        costs[f"toom_cook_{tile}"] = images + 0.75 * cores() * U * C * O
    name = min(costs, key=costs.get)
    return name, costs[name]


def turned_weights(w):
    """(O, C, KH, KW) -> (C, KH, KW, O), for either layer: O are the small image's channels."""
    O, *shape = w.shape
    return turned(np.ascontiguousarray(w).reshape(1, O, -1)).reshape(*shape, O)


def correlate(way, x, b):
    """y of x, plus b for every pixel, unless it is None."""
    y = empty((len(x), *way.geometry.grid, way.O), x.dtype)
    share(lambda part: way.correlate(x[part], y[part], b), len(x), way.cost)
    return to_nchw(y)


def correlate_back(way, y, b):
    """x of y, plus b for every pixel, unless it is None."""
    x = way.empty_large(len(y), y.dtype)
    way.prepare_back()
    share(lambda part: way.correlate_back(y[part], x[part], b), len(y), way.cost)
    return way.to_nchw(x)


def correlate_gradients(way, x, dy, need_dx):
    """dx, dw, db of `correlate`."""
    dx = way.empty_large(len(x), x.dtype) if need_dx else None
    if need_dx:
        way.prepare_back()

    def gradients(part):
        dw = way.gradients(x[part], dy[part], x_out=dx[part] if need_dx else None)
        return dw, sum_of_rows(dy[part].reshape(-1, way.O))

    dw, db = _sum_of_parts(gradients, way, len(x))
    return way.to_nchw(dx) if need_dx else None, dw, db


def correlate_back_gradients(way, y, dx, need_dy):
    """dy, dw, db of `correlate_back`."""
    dy = empty(y.shape, y.dtype) if need_dy else None

    def gradients(part):
        dw = way.gradients(dx[part], y[part], y_out=dy[part] if need_dy else None)
        return dw, way.sum_over_pixels(dx[part])

    dw, db = _sum_of_parts(gradients, way, len(y))
    return to_nchw(dy) if need_dy else None, dw, db


def _sum_of_parts(gradients, way, N):
    """dw, turned like the layer's weight, and db: what `gradients` gives for each core's images."""
    parts = share(gradients, N, 2 * way.cost)
    dw, db = (sum(values) for values in zip(*parts, strict=True))
    *shape, O = way.shape
    return turned(way.finish(dw).reshape(1, -1, O)).reshape(O, *shape), db


class _Way:
    """What the ways have in common. Arrays of their methods lie in memory as they want them."""

    large, to_nchw = staticmethod(to_nhwc), staticmethod(to_nchw)

    def __init__(self, N, w, geometry, cost):
        self.shape = w.shape
        self.C, _, _, self.O = w.shape
        self.geometry, self.cost = geometry, cost  # nanoseconds on one core, for all images

    def empty_large(self, N, dtype):
        return empty((N, *self.geometry.image, self.C), dtype)

    def sum_over_pixels(self, x):
        return sum_of_rows(x.reshape(-1, self.C))

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

    def correlate(self, x, y, b):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(count, -1)  # (n*OH*OW, KH*KW*C)
            gather(x[tile], rows, *self.geometry[1:])
            np.matmul(rows, self.w, out=y[tile].reshape(-1, self.O))
            if b is not None:
                y[tile] += b

    def correlate_back(self, y, x, b):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(count, -1)
            np.matmul(y[tile].reshape(-1, self.O), self.w.T, out=rows)
            x[tile] = 0 if b is None else b
            scatter_add(rows, x[tile], *self.geometry[1:])

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

    def sum_over_pixels(self, x):
        return x.sum(axis=(2, 3)).sum(axis=0)

    def correlate(self, x, y, b):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(-1, count)  # (C*KH*KW, n*OH*OW)
            gather_planes(x[tile], rows, *self.geometry[1:])
            np.matmul(rows.T, self.w, out=y[tile].reshape(-1, self.O))
            if b is not None:
                y[tile] += b

    def correlate_back(self, y, x, b):
        for tile, count, memory in self._tiles(x):
            rows = memory.reshape(-1, count)
            np.matmul(self.w, y[tile].reshape(-1, self.O).T, out=rows)
            x[tile] = 0 if b is None else b[:, None, None]
            scatter_add_planes(rows, x[tile], *self.geometry[1:])

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

    def correlate(self, x, y, b):
        toom_cook.correlate(self.plan, x, self.U, y, b)

    def correlate_back(self, y, x, b):
        toom_cook.correlate_back(self.plan, y, self.U_back, x, b)

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
