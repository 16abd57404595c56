"""What the algorithms for a correlation and its gradients have in common: see correlate.py."""

from typing import NamedTuple

from ..runtime.threads import cores
from .layout import turned


class Geometry(NamedTuple):
    """Pairs, for height and width."""

    image: tuple  # of x
    grid: tuple  # of y
    kernel_size: tuple
    stride: tuple
    padding: tuple


class Algorithm:
    """w (O, C, KH, KW); cost: nanoseconds for all images on one core. Each method runs on one core,
    reads images with channels last, and writes into the arrays given:

        correlate(x, y, b)             y of x, plus b for every pixel
        correlate_back(y, x, b)        x of y, likewise, after `prepare_back`
        gradients(x, y, x_out, y_out)  dw for `finish`, of the layer's input and its output's
                                       gradient; x_out or y_out gets that of the input, if not None
    """

    def __init__(self, N, w, geometry, cost):
        self.O, self.C = w.shape[:2]
        self.w, self.geometry, self.cost = w, geometry, cost
        self.images = -(-N // cores())  # of one core

    def finish(self, dw):
        """dw like w, of a sum of what `gradients` has returned."""
        return turned(dw).reshape(self.w.shape)
