"""The correlation that both convolution layers are made of, between a large and a small image.

    x (N, H, W, C) large,  y (N, OH, OW, O) small,  w (C, KH, KW, O)       channels last

    correlate         x -> y          conv2d's forward,            conv_transpose2d's dx
    correlate_back    y -> x          conv_transpose2d's forward,  conv2d's dx
    gradients         x, y -> dw      of both, with the dx of one of them on the way

There are two ways to compute it: patches times weights, and the way of Toom and Cook, with fewer
products, which pays where there are many channels and images. `prepare` chooses.
"""

from math import prod
from typing import NamedTuple

import numpy as np

from . import toom_cook
from .memory import empty, scratch
from .patches import gather, scatter_add, tiles
from .threads import cores, share


class Geometry(NamedTuple):
    """Pairs, for height and width."""

    image: tuple  # of x
    grid: tuple  # of y
    kernel_size: tuple
    stride: tuple
    padding: tuple


def prepare(N, w, geometry):
    """The way that should be the faster one for N images, with the weights as it wants them.

    Nanoseconds on one core, from timings of single layers: 0.02 for a product, 0.15 for a number
    copied into a patch, 0.5 for one transformed.
    """
    C, _, _, O = w.shape
    patches = N * prod(geometry.grid) * (0.02 * w.size + 0.15 * w.size / O)
    costs = {None: patches}
    for tile in (2, 4):
        V, M, U = toom_cook.sizes(*geometry, tile)
        transforms = N * (V * C + M * O) + cores() * U * C * O
        costs[tile] = N * V * 0.02 * C * O + 0.5 * transforms
    tile = min(costs, key=costs.get)
    way = _Patches(w, geometry) if tile is None else _ToomCook(N, w, geometry, tile)
    way.cost = costs[tile]
    return way


def correlate(way, x, b):
    """y of x, plus b for every pixel, unless it is None."""
    y = empty((len(x), *way.geometry.grid, way.O), x.dtype)
    share(lambda part: way.correlate(x[part], y[part], b), len(x), way.cost)
    return y


def correlate_back(way, y, b):
    """x of y, plus b for every pixel, unless it is None."""
    x = empty((len(y), *way.geometry.image, way.C), y.dtype)
    way.prepare_back()
    share(lambda part: way.correlate_back(y[part], x[part], b), len(y), way.cost)
    return x


def correlate_gradients(way, x, dy, need_dx):
    """dx, dw, db of `correlate`."""
    dx = empty(x.shape, x.dtype) if need_dx else None
    if need_dx:
        way.prepare_back()
    sums = []  # dw and db, as far as the images of one core go

    def work(part):
        dw = way.gradients(x[part], dy[part], x_out=dx[part] if need_dx else None)
        sums.append((dw, dy[part].sum(axis=(0, 1, 2))))

    share(work, len(x), 2 * way.cost)
    dw, db = (sum(parts) for parts in zip(*sums, strict=True))
    return dx, way.finish(dw), db


def correlate_back_gradients(way, y, dx, need_dy):
    """dy, dw, db of `correlate_back`."""
    dy = empty(y.shape, y.dtype) if need_dy else None
    sums = []

    def work(part):
        dw = way.gradients(dx[part], y[part], y_out=dy[part] if need_dy else None)
        sums.append((dw, dx[part].sum(axis=(0, 1, 2))))

    share(work, len(y), 2 * way.cost)
    dw, db = (sum(parts) for parts in zip(*sums, strict=True))
    return dy, way.finish(dw), db


class _Patches:
    """Patches times weights, a tile of images at a time. See patches.py."""

    def __init__(self, w, geometry):
        self.C, _, _, self.O = w.shape
        self.geometry = geometry
        self.how = geometry[1:]
        self.w = w.transpose(1, 2, 0, 3).reshape(-1, self.O)  # (KH*KW*C, O)

    def prepare_back(self):
        pass

    def _tiles(self, x):
        return tiles(slice(0, len(x)), prod(self.geometry.grid), len(self.w), x.dtype)

    def correlate(self, x, y, b):
        for tile, rows in self._tiles(x):
            gather(x[tile], rows, *self.how)  # (n*OH*OW, KH*KW*C)
            np.matmul(rows, self.w, out=y[tile].reshape(-1, self.O))
            if b is not None:
                y[tile] += b

    def correlate_back(self, y, x, b):
        for tile, rows in self._tiles(x):
            np.matmul(y[tile].reshape(-1, self.O), self.w.T, out=rows)
            x[tile] = 0 if b is None else b
            scatter_add(rows, x[tile], *self.how)

    def gradients(self, x, y, x_out=None, y_out=None):
        dw, dw_tile = np.zeros_like(self.w), scratch("dw", self.w.shape, x.dtype)
        for tile, rows in self._tiles(x):
            gather(x[tile], rows, *self.how)
            dw += np.matmul(rows.T, y[tile].reshape(-1, self.O), out=dw_tile)
            if y_out is not None:
                np.matmul(rows, self.w, out=y_out[tile].reshape(-1, self.O))
            if x_out is not None:
                np.matmul(y[tile].reshape(-1, self.O), self.w.T, out=rows)
                x_out[tile] = 0
                scatter_add(rows, x_out[tile], *self.how)
        return dw

    def finish(self, dw):
        """dw (C, KH, KW, O)."""
        return dw.reshape(*self.geometry.kernel_size, self.C, self.O).transpose(2, 0, 1, 3)


class _ToomCook:
    """With fewer products. See toom_cook.py."""

    def __init__(self, N, w, geometry, tile):
        self.C, _, _, self.O = self.shape = w.shape
        self.geometry = geometry
        images = -(-N // cores())
        self.plan = toom_cook.plan(images, *geometry, self.C, self.O, w.dtype, tile)
        self.U = toom_cook.transform_weights(self.plan, w)
        self.U_back = None

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
