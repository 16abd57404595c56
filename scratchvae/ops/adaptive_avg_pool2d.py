"""Adaptive average pooling: ask for an output size, get windows that cover the image.

    y[n,c,i,j]  = average of x[n,c,h,w] over  floor(i H / OH) <= h < ceil((i + 1) H / OH)
                                         and  floor(j W / OW) <= w < ceil((j + 1) W / OW)

    x (N, C, H, W)  ->  y (N, C, OH, OW)

Where OH does not divide H the windows overlap and differ in size: 7 -> 4 has the rows 0-1, 1-3,
3-5, 5-6. Averaging over rows and over columns are two small matrices, so both passes are products:

    y  = A x B^T       A[i,h] = 1 / (rows in window i) where window i holds row h, else 0
    dx = A^T dy B      B the same for columns
"""

from itertools import product

from ..backend import accelerated, array_module
from .checks import check_floats, check_rank, pair


def adaptive_avg_pool2d_arguments(x, output_size):
    """Check shapes and dtypes; make output_size a pair."""
    check_floats(x=x)
    check_rank("x", x, 4, "(N, C, H, W)")
    return x, pair("output_size", output_size, 1)


def window(i, size, output_size):
    """The half-open range of window i: floor(i H / OH), ceil((i + 1) H / OH)."""
    return i * size // output_size, -(-(i + 1) * size // output_size)


def adaptive_avg_pool2d_naive(x, output_size):
    """The first formula, read aloud."""
    x, (OH, OW) = adaptive_avg_pool2d_arguments(x, output_size)
    N, C, H, W = x.shape
    y = array_module(x).empty((N, C, OH, OW), x.dtype)
    for n, c, i, j in product(range(N), range(C), range(OH), range(OW)):
        (top, bottom), (left, right) = window(i, H, OH), window(j, W, OW)
        cells = [x[n, c, h, w] for h in range(top, bottom) for w in range(left, right)]
        y[n, c, i, j] = sum(cells) / len(cells)
    return y


def averaging_matrix(xp, size, output_size, dtype):
    """(OH, H): row i averages over window i."""
    A = xp.zeros((output_size, size), dtype)
    for i in range(output_size):
        first, last = window(i, size, output_size)
        A[i, first:last] = 1 / (last - first)
    return A


@accelerated(arguments=adaptive_avg_pool2d_arguments)
def adaptive_avg_pool2d_forward(x, output_size):
    """y, cache: the formulas at the top of this file. output_size: an int or a pair."""
    xp = array_module(x)
    A = averaging_matrix(xp, x.shape[2], output_size[0], x.real.dtype)  # (OH, H)
    B = averaging_matrix(xp, x.shape[3], output_size[1], x.real.dtype)  # (OW, W)
    y = A @ x @ B.T  # (N, C, OH, OW)
    cache = (A, B)
    return y, cache


@accelerated
def adaptive_avg_pool2d_backward(dy, cache):
    """dx: each dy is shared out evenly among its window's cells."""
    A, B = cache
    return A.T @ dy @ B  # (N, C, H, W)
