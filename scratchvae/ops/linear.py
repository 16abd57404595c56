"""A fully connected layer.

    y  = x w^T + b            y[n,o]  = b[o] + sum over i of  x[n,i] w[o,i]

    dx = dy w                 dx[n,i] = sum over o of  dy[n,o] w[o,i]
    dw = dy^T x               dw[o,i] = sum over n of  dy[n,o] x[n,i]
    db = sum over n of dy[n]

    x (N, I), w (O, I), b (O,) or None  ->  y (N, O)

To remember it: dx has x's shape and dw has w's, and there is only one product that fits each.
"""

from itertools import product

from ..backend import accelerated, array_module
from .cases import Case


def linear_naive(x, w, b=None):
    """The first formula in plain loops."""
    (N, I), (O, _) = x.shape, w.shape
    y = array_module(x).zeros((N, O), x.dtype)
    for n, o in product(range(N), range(O)):
        y[n, o] = sum(x[n, i] * w[o, i] for i in range(I)) + (0 if b is None else b[o])
    return y


@accelerated("x (N, I), w (O, I), b (O) or None")
def linear_forward(x, w, b=None):
    """y, cache: the formulas at the top of this file."""
    y = x @ w.T  # (N, O)
    if b is not None:
        y = y + b
    cache = (x, w, b is not None)
    return y, cache


@accelerated
def linear_backward(dy, cache, need_dx=True):
    """dx, dw, db. dx is None if not need_dx (a first layer needs none), db is None if b was."""
    x, w, has_b = cache
    dx = dy @ w if need_dx else None  # (N, I)
    dw = dy.T @ x  # (O, I)
    db = dy.sum(axis=0) if has_b else None  # (O,)
    return dx, dw, db


CASES = [
    Case({"x": (3, 4), "w": (5, 4), "b": (5,)}, linear=("x", "w", "b")),
    Case({"x": (3, 4), "w": (5, 4)}, linear=("x", "w"), variant="no bias"),
]
