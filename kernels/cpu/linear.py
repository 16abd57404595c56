"""linear as products of BLAS, the columns of each result shared between the cores. With a leaky
ReLU after it, if it is asked for; a slope of 1 is none.

Columns, because a core that has its own can leave the rest of the weights alone, and because no two
cores add to the same number of dw.
"""

import numpy as np

from .runtime.memory import empty
from .runtime.reductions import finish_rows, through_activation
from .runtime.threads import share

PRODUCTS = 40  # multiplications in a nanosecond, about


def linear_forward(x, w, b=None):
    return _forward(x, w, b, 1.0)


def linear_backward(dy, cache, need_dx=True):
    return _backward(dy, cache, need_dx)


def _forward(x, w, b, slope):
    (N, I), O = x.shape, len(w)
    y = empty((N, O), x.dtype)

    def work(part):
        np.matmul(x, w[part].T, out=y[:, part])
        finish_rows(y[:, part], None if b is None else b[part], slope)

    share(work, O, N * I * O // PRODUCTS)
    cache = (x, w, None if slope == 1 else y, b is not None, slope)
    return y, cache


def _backward(dy, cache, need_dx):
    x, w, y, has_b, slope = cache
    (N, I), O = x.shape, len(w)
    dx = empty((N, I), dy.dtype) if need_dx else None
    dw = empty((O, I), dy.dtype)
    dy = np.ascontiguousarray(dy)
    dh, y = (dy, dy) if y is None else (empty((N, O), dy.dtype), y)

    def activation(part):
        """Write dh of some images; return their share of db."""
        return through_activation(dy[part], y[part], slope, dh[part])[1]

    def work(part):
        np.matmul(dh.T, x[:, part], out=dw[:, part])
        if need_dx:
            np.matmul(dh, w[:, part], out=dx[:, part])

    db = sum(share(activation, N, 0.2 * dy.size)) if has_b or slope != 1 else None
    share(work, I, N * I * O // PRODUCTS)
    return dx, dw, db if has_b else None
