"""The correlation behind both convolution layers, between a large and a small image.

    x (N, C, H, W) large,  y (N, O, OH, OW) small,  w (O, C, KH, KW)

    correlate         x -> y          conv2d's forward,            conv_transpose2d's dx
    correlate_back    y -> x          conv_transpose2d's forward,  conv2d's dx
    ..._gradients     x, y -> dw      dw of both, and the dx of one of them

`prepare` chooses the algorithm: direct convolution; Winograd, which is faster for many channels, if
its rounding error is small enough; or one for weights that are not finite. Images are NHWC here.
"""

from functools import partial
from math import prod

import numpy as np

from ..runtime.memory import empty
from ..runtime.reductions import sum_of_rows
from ..runtime.threads import cores, share
from . import direct, winograd

# Bound for the error of Winograd's algorithm (winograd.py): 5e-6 of the largest result in float32,
# 1e-14 in float64, where a gradient check with steps of 1e-6 needs seven correct digits.
MOST_ROUNDINGS = 84

ALGORITHMS = {
    "direct": direct.Direct,
    "unpadded": direct.Unpadded,
    "winograd_2": partial(winograd.Winograd, tile=2),
    "winograd_4": partial(winograd.Winograd, tile=4),
}


def prepare(N, w, geometry):
    """The algorithm that is expected to be fastest for N images, with its weights prepared."""
    w = np.ascontiguousarray(w)
    name, cost = fastest(N, w.shape, geometry)
    return ALGORITHMS[name if np.isfinite(w).all() else "unpadded"](N, w, geometry, cost)


def fastest(N, shape, geometry):
    """Name and cost (nanoseconds on one core) of the cheapest algorithm, by a model fitted to layer
    timings: 0.02 per product, 0.024 in Winograd's small matrices; 0.3 per number copied; 1 per
    number transformed (16 channels or more); 0.75 per weight, while all other cores wait."""
    O, C, *kernel_size = shape
    weights = 0.75 * cores() * C * O
    images = 0.02 * direct.products(*geometry, C, O)
    images += 0.3 * (prod(geometry.image) * C + prod(geometry.grid) * O)
    costs = {"direct": N * images + weights * prod(kernel_size)}
    for tile in (2, 4):
        if winograd.roundings(*geometry, C, O, tile) > MOST_ROUNDINGS:
            continue
        V, M, U = winograd.sizes(*geometry, tile)
        images = 0.024 * V * C * O + V * max(C, 16) + M * max(O, 16)
        costs[f"winograd_{tile}"] = N * images + weights * U
    name = min(costs, key=costs.get)
    return name, costs[name]


def correlate(algorithm, x, b):
    """y from x; adds b to every pixel unless it is None."""
    y = empty((len(x), *algorithm.geometry.grid, algorithm.O), x.dtype)
    share(lambda part: algorithm.correlate(x[part], y[part], b), len(x), algorithm.cost)
    return y


def correlate_back(algorithm, y, b):
    x = empty((len(y), *algorithm.geometry.image, algorithm.C), y.dtype)
    algorithm.prepare_back()
    share(lambda part: algorithm.correlate_back(y[part], x[part], b), len(y), algorithm.cost)
    return x


def correlate_gradients(algorithm, x, dy, need_dx):
    """dx, dw, db of `correlate`."""
    dx = empty(x.shape, x.dtype) if need_dx else None
    if need_dx:
        algorithm.prepare_back()
    return dx, *_gradients(algorithm, x, dy, dy, dx, None)


def correlate_back_gradients(algorithm, y, dx, need_dy):
    """dy, dw, db of `correlate_back`."""
    dy = empty(y.shape, y.dtype) if need_dy else None
    return dy, *_gradients(algorithm, dx, y, dx, None, dy)


def _gradients(algorithm, x, y, dresult, x_out, y_out):

    def work(part):
        outs = (None if out is None else out[part] for out in (x_out, y_out))
        dw = algorithm.gradients(x[part], y[part], *outs)
        return dw, sum_of_rows(dresult[part].reshape(-1, dresult.shape[3]))

    (dw, db), *others = share(work, len(x), 2 * algorithm.cost)
    for more_dw, more_db in others:
        dw += more_dw
        db += more_db
    return algorithm.finish(dw), db
