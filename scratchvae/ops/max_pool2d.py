"""Max pooling.

    y[n,c,i,j]  = max over u,v of  x[n, c, i*SH + u - PH, j*SW + v - PW]
    dx[n,c,h,w] = sum of dy[n,c,i,j] over the windows (i,j) whose winner is x[n,c,h,w]

    x (N, C, H, W)  ->  y (N, C, OH, OW),  OH = floor((H + 2 PH - KH) / SH) + 1, OW likewise

Outside the image x is -infinity, not 0: zeros would beat negative values. If several cells tie, the
first of them in reading order is the winner and gets all of dy. NaN wins over every number.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case, distinct
from .checks import pool2d_arguments
from .windows import add_windows, crop2d, grid_size, pad2d, windows


def max_pool2d_naive(x, kernel_size, stride=None, padding=0):
    """The first formula in plain loops."""
    x, *sizes = pool2d_arguments(x, kernel_size, stride, padding)
    (KH, KW), (SH, SW), (PH, PW) = sizes
    N, C, H, W = x.shape
    OH, OW = grid_size((H, W), *sizes)
    y = array_module(x).empty((N, C, OH, OW), x.dtype)
    for n, c, i, j in product(range(N), range(C), range(OH), range(OW)):
        rows = range(max(i * SH - PH, 0), min(i * SH - PH + KH, H))
        columns = range(max(j * SW - PW, 0), min(j * SW - PW + KW, W))
        y[n, c, i, j] = max(x[n, c, h, w] for h in rows for w in columns)
    return y


@accelerated("x (N, C, H, W)", arguments=pool2d_arguments)
def max_pool2d_forward(x, kernel_size, stride, padding):
    """y, cache: the formulas at the top of this file. Sizes: an int or a pair each."""
    xp = array_module(x)
    x_padded = pad2d(x, padding, value=-xp.inf)
    cells = windows(x_padded, kernel_size, stride)  # (N, C, OH, OW, KH, KW)
    cells = cells.reshape(*cells.shape[:4], -1)  # (N, C, OH, OW, KH*KW)
    winner = cells.argmax(axis=4)  # (N, C, OH, OW): u*KW + v, the first if several are equal
    y = xp.take_along_axis(cells, winner[..., None], axis=4)[..., 0]
    if padding != (0, 0):  # if all of a window is -infinity, its first cell inside the image wins
        inside = windows(pad2d(xp.ones((1, 1, *x.shape[2:])), padding), kernel_size, stride)
        first = inside.reshape(1, 1, *y.shape[2:], -1).argmax(axis=4)  # (1, 1, OH, OW)
        winner = xp.where(y == -xp.inf, first, winner)
    cache = (winner, x_padded.shape[2:], kernel_size, stride, padding)
    return y, cache


@accelerated
def max_pool2d_backward(dy, cache):
    """dx: each dy goes to its window's winner."""
    winner, padded_size, kernel_size, stride, padding = cache
    xp = array_module(dy)
    cell = xp.arange(kernel_size[0] * kernel_size[1])  # (KH*KW,)
    dcells = xp.where(winner[..., None] == cell, dy[..., None], 0)  # (N, C, OH, OW, KH*KW)
    dcells = dcells.reshape(*dy.shape, *kernel_size)
    return crop2d(add_windows(dcells, padded_size, stride), padding)


CASES = [
    Case({"x": (2, 3, 6, 5)}, {"kernel_size": 3, "stride": 2, "padding": 1}, draw={"x": distinct})
]
