"""The correlation that both convolution layers are made of, between a large and a small image.

    x (N, C, H, W) large,  y (N, O, OH, OW) small,  w (C, KH, KW, O)

    correlate         x -> y          conv2d's forward,            conv_transpose2d's dx
    correlate_back    y -> x          conv_transpose2d's forward,  conv2d's dx
    ..._gradients     x, y -> dw      of both, with the dx of one of them on the way

There are three ways to compute it: patches times weights; the same turned over, for few channels;
and the way of Toom and Cook, with fewer products, which pays where there are many channels and
images. They stand in ways.py; `prepare` chooses. In memory y has its channels last; x lies as the
way wants it, see `large`.
"""

from math import prod

import numpy as np

from . import toom_cook
from .layout import to_nchw, turned
from .memory import empty
from .rows import through_activation
from .threads import cores, share
from .ways import WAYS

FEW = 4  # channels of the large image


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


def correlate(way, x, b, slope):
    """y of x, plus b for every pixel, unless it is None, and leaky ReLU, unless its slope is 1."""
    y = empty((len(x), *way.geometry.grid, way.O), x.dtype)
    share(lambda part: way.correlate(x[part], y[part], b, slope), len(x), way.cost)
    return to_nchw(y)


def correlate_back(way, y, b, slope):
    """x of y, likewise."""
    x = way.empty_large(len(y), y.dtype)
    way.prepare_back()
    share(lambda part: way.correlate_back(y[part], x[part], b, slope), len(y), way.cost)
    return way.to_nchw(x)


def correlate_gradients(way, x, y, dy, slope, need_dx):
    """dx, dw, db of `correlate`, which has given y."""
    dx = way.empty_large(len(x), x.dtype) if need_dx else None
    if need_dx:
        way.prepare_back()

    def gradients(part):
        dy_rows, y_rows = dy[part].reshape(-1, way.O), y[part].reshape(-1, way.O)
        dh, db = through_activation(dy_rows, y_rows, slope)
        x_out = dx[part] if need_dx else None
        return way.gradients(x[part], dh.reshape(dy[part].shape), x_out=x_out), db

    dw, db = _sum_of_parts(gradients, way, len(x))
    return way.to_nchw(dx) if need_dx else None, dw, db


def correlate_back_gradients(way, y, x, dx, slope, need_dy):
    """dy, dw, db of `correlate_back`, which has given x."""
    dy = empty(y.shape, y.dtype) if need_dy else None

    def gradients(part):
        dh, db = way.through_activation(dx[part], x[part], slope)
        return way.gradients(dh, y[part], y_out=dy[part] if need_dy else None), db

    dw, db = _sum_of_parts(gradients, way, len(y))
    return to_nchw(dy) if need_dy else None, dw, db


def _sum_of_parts(gradients, way, N):
    """dw, turned like the layer's weight, and db: what `gradients` gives for each core's images."""
    parts = share(gradients, N, 2 * way.cost)
    dw, db = (sum(values) for values in zip(*parts, strict=True))
    *shape, O = way.shape
    return turned(way.finish(dw).reshape(1, -1, O)).reshape(O, *shape), db
