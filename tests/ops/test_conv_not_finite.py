"""One NaN or infinity in x, w or dy of a convolution: where y, dx, dw and db are not finite is the
same on every engine. tests/test_parity.py compares with PyTorch."""

from itertools import product
from unittest.mock import patch

import numpy as np
import pytest
from harness import convolutions, on_device
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops

GEOMETRIES = [  # image, C, O, kernel_size, stride, padding, output_padding (of conv_transpose2d)
    ((4, 5), 2, 3, (3, 3), (1, 1), (1, 1), (0, 0)),
    ((5, 4), 1, 2, (3, 2), (2, 2), (1, 0), (1, 0)),
    ((6, 5), 2, 1, (2, 3), (2, 1), (2, 2), (1, 0)),  # windows that lie in the padding
    ((5, 6), 2, 2, (1, 2), (3, 4), (0, 1), (2, 3)),  # pixels that no window reaches
    ((4, 4), 19, 2, (3, 3), (1, 1), (2, 1), (0, 0)),  # few outputs: terms in the lanes
    ((3, 4), 2, 17, (3, 3), (1, 2), (1, 1), (0, 1)),
]
VALUES = [np.nan, np.inf, -np.inf]


def results(op, arrays, dy, options):
    with np.errstate(all="ignore"):
        y, cache = getattr(ops, f"{op}_forward")(*map(on_device, arrays), *options)
        gradients = getattr(ops, f"{op}_backward")(on_device(dy), cache)
    return [sv.asnumpy(a) for a in (y, *gradients)]


def case(op, geometry, dtype):
    """x, w, b, dy without zeros, and options."""
    image, C, O, kernel_size, stride, padding, output_padding = geometry
    sizes = zip(image, kernel_size, stride, padding, output_padding, strict=True)
    if op == "conv2d":
        grid = [(H + 2 * P - K) // S + 1 for H, K, S, P, _ in sizes]
        w, options = (O, C, *kernel_size), (stride, padding)
    else:
        grid = [(H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes]
        w, options = (C, O, *kernel_size), (stride, padding, output_padding)
    rng = np.random.default_rng(0)
    shapes = (2, C, *image), w, (O,), (2, O, *grid)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes], options


def spots(shape):
    """The first, last, and a middle element of the image or kernel, in the first channels and the
    last."""
    height, width = shape[2:]
    spots = {(0, 0), (height - 1, width - 1), (0, width // 2), (height // 2, width // 2)}
    for (i, j), last in product(sorted(spots), (0, -1)):
        yield last, last, i, j


def sweep(op, geometry, dtype):
    """(name, arrays, options) with one value each that is not finite."""
    arrays, options = case(op, geometry, dtype)
    for name, k in (("x", 0), ("w", 1), ("dy", 3)):
        for spot, value in product(spots(arrays[k].shape), VALUES):
            changed = [a.copy() for a in arrays]
            changed[k][spot] = value
            yield f"{value} in {name}{list(spot)}", changed, options


def check(op, geometry, dtype, activation=""):
    for name, (*arrays, dy), options in sweep(op, geometry, dtype):
        slope = (0.2,) if activation else ()
        found = results(op + activation, arrays, dy, (*options, *slope))
        with sv.using("numpy"):
            expected = results(op + activation, arrays, dy, (*options, *slope))
        for which, ours, theirs in zip(("y", "dx", "dw", "db"), found, expected, strict=True):
            same = f"{op}{activation} {geometry}: {name}, {which}"
            assert_array_equal(np.isfinite(ours), np.isfinite(theirs), same)
            assert_array_equal(np.isnan(ours), np.isnan(theirs), same)


@pytest.mark.parametrize("activation", ["", "_leaky_relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_as_the_reference(engine, op, geometry, dtype, activation):
    if engine == "numpy":
        pytest.skip("the reference itself")
    with convolutions("direct"):
        check(op, geometry, dtype, activation)
