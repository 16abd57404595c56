"""Adaptive average pooling: you choose the output size, and it determines the windows.

    y[n,c,i,j]  = average of x[n,c,h,w] over  floor(i H / OH) <= h < ceil((i + 1) H / OH)
                                         and  floor(j W / OW) <= w < ceil((j + 1) W / OW)

    x (N, C, H, W)  ->  y (N, C, OH, OW)

Where OH does not divide H the windows overlap and differ in size: 7 -> 4 has the rows 0-1, 1-3,
3-5, 5-6. The average is separable, so each axis is pooled by itself. The code reads only the cells
of a window: a matrix of weights would multiply all others by 0, and 0 x infinity is NaN.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case
from .checks import pair


def adaptive_avg_pool2d_arguments(x, output_size):
    """Make output_size a pair."""
    return x, pair("output_size", output_size, 1)


def window(i, size, output_size):
    """The half-open range of window i: floor(i H / OH), ceil((i + 1) H / OH)."""
    return i * size // output_size, -(-(i + 1) * size // output_size)


def adaptive_avg_pool2d_naive(x, output_size):
    """The first formula in plain loops."""
    x, (OH, OW) = adaptive_avg_pool2d_arguments(x, output_size)
    N, C, H, W = x.shape
    y = array_module(x).empty((N, C, OH, OW), x.dtype)
    for n, c, i, j in product(range(N), range(C), range(OH), range(OW)):
        (top, bottom), (left, right) = window(i, H, OH), window(j, W, OW)
        cells = [x[n, c, h, w] for h in range(top, bottom) for w in range(left, right)]
        y[n, c, i, j] = sum(cells) / len(cells)
    return y


@accelerated("x (N, C, H, W)", arguments=adaptive_avg_pool2d_arguments)
def adaptive_avg_pool2d_forward(x, output_size):
    """y, cache: the formulas at the top of this file. output_size: an int or a pair."""
    y = _average(_average(x, output_size[0], 2), output_size[1], 3)  # (N, C, OH, OW)
    cache = (x.shape[2:],)
    return y, cache


@accelerated
def adaptive_avg_pool2d_backward(dy, cache):
    """dx: each dy is divided evenly among the cells of its window."""
    ((H, W),) = cache
    return _share_out(_share_out(dy, W, 3), H, 2)  # (N, C, H, W)


def _average(x, output_size, axis):
    """The mean of each window along an axis."""
    xp, size = array_module(x), x.shape[axis]
    ranges = [slice(*window(i, size, output_size)) for i in range(output_size)]
    return xp.stack([x[_along(axis, r)].mean(axis) for r in ranges], axis)


def _share_out(dy, size, axis):
    """The transpose of `_average`: each cell of a window gets an equal share of the window's dy."""
    output_size = dy.shape[axis]
    dx = array_module(dy).zeros((*dy.shape[:axis], size, *dy.shape[axis + 1 :]), dy.dtype)
    for i in range(output_size):
        first, last = window(i, size, output_size)
        dx[_along(axis, slice(first, last))] += dy[_along(axis, slice(i, i + 1))] / (last - first)
    return dx


def _along(axis, part):
    """The index of a part of an axis, with all of the axes before it."""
    return (*(slice(None),) * axis, part)


CASES = [Case({"x": (2, 3, 6, 5)}, {"output_size": (4, 3)}, linear=("x",))]
