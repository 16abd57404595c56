"""The algorithms for a correlation and its gradients, on one core: see correlate.py.

All have the same methods. `correlate`, `correlate_back` and `gradients` take images of a batch,
channels last, and write their results into arrays they are given.
"""

from functools import partial
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from .. import jit
from ..runtime.threads import cores
from . import direct, indirection, winograd
from .layout import turned
from .transforms import transform_back


class Geometry(NamedTuple):
    """Pairs, for height and width."""

    image: tuple  # of x
    grid: tuple  # of y
    kernel_size: tuple
    stride: tuple
    padding: tuple


class Algorithm:
    """What all have in common. w (O, C, KH, KW); cost: nanoseconds on one core, for all images."""

    def __init__(self, N, w, geometry, cost):
        self.O, self.C = w.shape[:2]
        self.w, self.geometry, self.cost = w, geometry, cost
        self.images = -(-N // cores())  # of one core

    def finish(self, dw):
        """dw like w, of a sum of what `gradients` has returned."""
        return turned(dw).reshape(self.w.shape)


class Direct(Algorithm):
    """Every product of the definition. See direct.py."""

    def __init__(self, N, w, geometry, cost):
        super().__init__(N, w, geometry, cost)
        self.sizes = geometry, self.C, self.O, self.images, w.itemsize
        self.forward = self._sums(indirection.forward_buffer, self.O, w.size // self.O)

    def prepare_back(self):
        """What correlate_back, and gradients with x_out, need."""
        taps = prod(self.geometry.kernel_size)
        self.back = self._sums(indirection.back_buffer, self.C, taps)

    def _sums(self, buffer, channels, count):
        """With the weights packed: in a panel the channels, `count` numbers apart in w, are
        neighbours."""
        width = indirection.panel_width(channels, self.w.itemsize)
        w = turned(self.w.reshape(-1, width, count)).reshape(-1, width)
        return direct.Sums(buffer(*self.sizes), channels, w)

    def correlate(self, x, y, b):
        self.forward.write(x, y, b)

    def correlate_back(self, y, x, b):
        self.back.write(y, x, b)

    def gradients(self, x, y, x_out=None, y_out=None):
        """dw for `finish`."""
        if x_out is not None:
            self.back.write(y, x_out, None)
        if y_out is not None:
            self.forward.write(x, y_out, None)
        return direct.weight_gradient(self.forward.buffer, x, y)


class Unpadded(Direct):
    """The same for weights that are not finite. In `correlate_back`, `Direct` multiplies them by
    the zeros of a margin, and 0 x infinity is NaN. Here each tap meets only pixels of the image, as
    in the reference. (`correlate` multiplies the zeros of the padding there as well.)"""

    def prepare_back(self):
        pass

    def correlate_back(self, y, x, b):
        x.fill(0)
        image, grid, kernel_size, stride, padding = self.geometry
        for tap in product(*map(range, kernel_size)):
            both = map(_met, tap, image, grid, stride, padding)
            pixels, windows = zip(*both, strict=True)
            x[:, *pixels] += y[:, *windows] @ self.w[:, :, *tap]
        if b is not None:
            x += b

    def gradients(self, x, y, x_out=None, y_out=None):
        if x_out is not None:
            self.correlate_back(y, x_out, None)
        return super().gradients(x, y, None, y_out)


def _met(tap, H, OH, S, P):
    """Slices of x and y: the pixels that the tap meets in y's windows."""
    first, last = max(0, -((tap - P) // S)), min(OH - 1, (H - 1 + P - tap) // S)
    start = first * S + tap - P
    return slice(start, start + max(0, last - first + 1) * S, S), slice(first, max(first, last + 1))


@jit
def finite(a):
    """Whether all its numbers are: 0 times one that is not is NaN."""
    a, zero = a.reshape(-1), a.dtype.type(0)
    total = zero
    for i in range(len(a)):
        total += zero * a[i]
    return total == 0


class Winograd(Algorithm):
    """Fewer products, more sums. See winograd.py."""

    def __init__(self, N, w, geometry, cost, tile):
        super().__init__(N, w, geometry, cost)
        self.plan = winograd.plan(self.images, *geometry, self.C, self.O, w.dtype, tile)
        self.shape = self.C, *geometry.kernel_size, self.O
        w = turned(w.reshape(1, self.O, -1)).reshape(self.shape)
        self.U, self.U_back = winograd.transform_weights(self.plan, w), None

    def prepare_back(self):
        self.U_back = winograd.transposed(self.plan, self.U)

    def correlate(self, x, y, b):
        winograd.correlate(self.plan, x, self.U, y, b)

    def correlate_back(self, y, x, b):
        winograd.correlate_back(self.plan, y, self.U_back, x, b)

    def gradients(self, x, y, x_out=None, y_out=None):
        return winograd.weight_gradient(self.plan, x, y, x_out, self.U_back, y_out, self.U)

    def finish(self, dU):
        dw = np.empty(self.shape, dU.dtype)
        transform_back(self.plan.U, dU, dw)
        return super().finish(dw.reshape(1, -1, self.O))


ALGORITHMS = {
    "direct": Direct,
    "unpadded": Unpadded,
    "winograd_2": partial(Winograd, tile=2),
    "winograd_4": partial(Winograd, tile=4),
}
