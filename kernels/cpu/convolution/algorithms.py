"""What the algorithms for a correlation and its gradients have in common; see correlate.py."""

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
    reads images with channels last, and writes into the given arrays:

        correlate(x, y, b)             computes y from x, and adds b to every pixel
        correlate_back(y, x, b)        computes x from y, likewise; needs `prepare_back` before it
        gradients(x, y, x_out, y_out)  returns dw for `finish`. One of x and y is the layer's input,
                                       the other dy; dx goes to x_out or y_out, if not None
    """

    def __init__(self, N, w, geometry, cost):
        self.O, self.C = w.shape[:2]
        self.w, self.geometry, self.cost = w, geometry, cost
        self.images = -(-N // cores())  # per core

    def finish(self, dw):
        """dw in the shape of w, from the sum of the results of `gradients`."""
        return turned(dw).reshape(self.w.shape)
