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
    """w (O, C, KH, KW); cost: nanoseconds on one core, for all images.

    The methods run on one core. They take images of a batch, channels last, and write results into
    arrays they are given:

        correlate(x, y, b)       y of x, plus b for every pixel
        correlate_back(y, x, b)  x of y, likewise; `prepare_back` comes first
        gradients(x, y, x_out, y_out)  dw for `finish`; of x and y one is what the layer has read,
                                 the other the gradient of what it returned. The gradient of what
                                 it has read is written to x_out or y_out, if that is not None.
    """

    def __init__(self, N, w, geometry, cost):
        self.O, self.C = w.shape[:2]
        self.w, self.geometry, self.cost = w, geometry, cost
        self.images = -(-N // cores())  # of one core

    def finish(self, dw):
        """dw like w, of a sum of what `gradients` has returned."""
        return turned(dw).reshape(self.w.shape)
