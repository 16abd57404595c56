"""The correlation that both convolution layers are made of, between a large and a small image.

    x (N, C, H, W) large,  y (N, O, OH, OW) small,  w (O, C, KH, KW)

    correlate         x -> y          conv2d's forward,            conv_transpose2d's dx
    correlate_back    y -> x          conv_transpose2d's forward,  conv2d's dx
    ..._gradients     x, y -> dw      of both, with the dx of one of them on the way

There are two ways to compute it: every product of the definition, or the way of Toom and Cook, with
fewer products, which pays where there are many channels, and is taken where its rounding is small
enough. They stand in ways.py; `prepare` chooses. A third one is for weights that are not finite.
Here the images have their channels last, in shape and memory: (N, H, W, C).
"""

from math import prod

import numpy as np

from ..runtime.memory import empty
from ..runtime.reductions import through_activation
from ..runtime.threads import cores, share
from . import direct, winograd
from .algorithms import WAYS, finite

# What Toom and Cook may lose, see toom_cook.py: 5e-6 of the largest result in float32, 1e-14 in
# float64, where a gradient check with steps of 1e-6 has to see seven digits.
MOST_ROUNDINGS = 84


def prepare(N, w, geometry):
    """The way that should be the fastest one for N images, with the weights as it wants them."""
    w = np.ascontiguousarray(w)
    name, cost = fastest(N, w.shape, geometry)
    return WAYS[name if finite(w) else "unpadded"](N, w, geometry, cost)


def fastest(N, shape, geometry):
    """The name of a way, and its cost: about how many nanoseconds it takes on one core.

    From timings of single layers: 0.02 for a product, 0.024 in the small matrices of Toom and Cook;
    0.3 for a number of an image copied, 1 for one transformed, where few channels are like 16; and
    while the other cores wait 0.75 for one of the weights, or of the transformed ones.
    """
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
        costs[f"toom_cook_{tile}"] = N * images + weights * U
    name = min(costs, key=costs.get)
    return name, costs[name]


def correlate(way, x, b, slope):
    """y of x, plus b for every pixel, unless it is None, and leaky ReLU, unless its slope is 1."""
    y = empty((len(x), *way.geometry.grid, way.O), x.dtype)
    share(lambda part: way.correlate(x[part], y[part], b, slope), len(x), way.cost)
    return y


def correlate_back(way, y, b, slope):
    """x of y, likewise."""
    x = empty((len(y), *way.geometry.image, way.C), y.dtype)
    way.prepare_back()
    share(lambda part: way.correlate_back(y[part], x[part], b, slope), len(y), way.cost)
    return x


def correlate_gradients(way, x, y, dy, slope, need_dx):
    """dx, dw, db of `correlate`, which has given y."""
    dx = empty(x.shape, x.dtype) if need_dx else None
    if need_dx:
        way.prepare_back()

    def gradients(part):
        dh, db = _through_activation(dy[part], y[part], slope)
        return way.gradients(x[part], dh, x_out=dx[part] if need_dx else None), db

    return dx, *_sum_of_parts(gradients, way, len(x))


def correlate_back_gradients(way, y, x, dx, slope, need_dy):
    """dy, dw, db of `correlate_back`, which has given x."""
    dy = empty(y.shape, y.dtype) if need_dy else None

    def gradients(part):
        dh, db = _through_activation(dx[part], x[part], slope)
        return way.gradients(dh, y[part], y_out=dy[part] if need_dy else None), db

    return dy, *_sum_of_parts(gradients, way, len(y))


def _through_activation(dy, y, slope):
    channels = y.shape[-1]
    dh, db = through_activation(dy.reshape(-1, channels), y.reshape(-1, channels), slope)
    return dh.reshape(dy.shape), db


def _sum_of_parts(gradients, way, N):
    """dw and db: what `gradients` gives for each core's images."""
    (dw, db), *others = share(gradients, N, 2 * way.cost)
    for more_dw, more_db in others:
        dw += more_dw
        db += more_db
    return way.finish(dw), db
