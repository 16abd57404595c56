"""One NaN or infinity in x, w or dy of a convolution: y, dx, dw and db are not finite at the same
positions on every engine and in PyTorch's own kernels, except on a GPU (see `expected`)."""

from itertools import product

import numpy as np
import pytest
from harness import convolutions, on_device
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops

GEOMETRIES = [  # image, C, O, kernel_size, stride, padding, output_padding (of conv_transpose2d)
    ((4, 5), 2, 3, (3, 3), (1, 1), (1, 1), (0, 0)),
    ((5, 4), 1, 2, (3, 2), (2, 2), (1, 0), (1, 0)),
    ((6, 5), 2, 1, (2, 3), (2, 1), (2, 2), (1, 0)),  # windows inside the padding
    ((5, 6), 2, 2, (1, 2), (3, 4), (0, 1), (2, 3)),  # pixels that no window reaches
    ((4, 4), 19, 2, (3, 3), (1, 1), (2, 1), (0, 0)),  # few outputs: terms in the lanes
    ((3, 4), 2, 17, (3, 3), (1, 2), (1, 1), (0, 1)),
]
VALUES = [np.nan, np.inf]


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
    """The first, last, and a middle element of image or kernel, in the first and last channels."""
    height, width = shape[2:]
    yield 0, 0, 0, 0
    yield -1, -1, height - 1, width - 1
    yield -1, 0, 0, width // 2
    yield 0, -1, height // 2, width // 2


def sweep(op, geometry, dtype):
    """(name, arrays, options) with one value each that is not finite."""
    arrays, options = case(op, geometry, dtype)
    for name, k in (("x", 0), ("w", 1), ("dy", 3)):
        for spot, value in product(spots(arrays[k].shape), VALUES):
            changed = [a.copy() for a in arrays]
            changed[k][spot] = value
            yield f"{value} in {name}{list(spot)}", changed, options


def expected(op, arrays, dy, options, engine):
    """The result of the engine numpy. On a GPU, dx of conv2d and y of conv_transpose2d also sum
    over zeros outside the image: the result for an image with a margin of zeros."""
    with sv.using("numpy"):
        y, dx, dw, db = results(op, arrays, dy, options)
        if engine.startswith("cuda"):
            x, w, b = arrays
            stride, padding, *_ = options
            small = dy if op == "conv2d" else x
            margin = [(0, 0), (0, 0), *[(k, k) for k in w.shape[2:]]]
            zeros = np.pad(small, margin)
            cut = tuple(p + k * s for p, k, s in zip(padding, w.shape[2:], stride, strict=True))
            size = (dx if op == "conv2d" else y).shape[2:]
            with np.errstate(all="ignore"):
                w = np.ascontiguousarray(w)
                bias = None if op == "conv2d" else b
                painted, _ = ops.conv_transpose2d_forward(zeros, w, bias, stride, 0)
            painted = painted[:, :, cut[0] :, cut[1] :][:, :, : size[0], : size[1]]
            y, dx = (y, painted) if op == "conv2d" else (painted, dx)
    return y, dx, dw, db


def check(op, geometry, dtype, engine):
    for name, (*arrays, dy), options in sweep(op, geometry, dtype):
        found = results(op, arrays, dy, options)
        right = expected(op, arrays, dy, options, engine)
        for which, ours, theirs in zip(("y", "dx", "dw", "db"), found, right, strict=True):
            same = f"{op} {geometry}: {name}, {which}"
            assert_array_equal(np.isfinite(ours), np.isfinite(theirs), same)
            assert_array_equal(np.isnan(ours), np.isnan(theirs), same)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_as_the_reference(engine, op, geometry, dtype):
    if engine == "numpy" or (engine == "cuda_on_host" and dtype == "float64"):
        pytest.skip("the reference itself; on the CPU one dtype is enough")
    with convolutions("direct"):
        check(op, geometry, dtype, engine)


@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_with_an_activation(op):
    (*arrays, dy), options = case(op, GEOMETRIES[0], "float32")
    arrays[1][0, 0, 0, 0] = np.inf
    found = {}
    for engine in ("numpy", "numba"):
        with sv.using(engine):
            y, *_ = results(op, arrays, dy, options)
            with np.errstate(all="ignore"):
                _, cache = ops.leaky_relu_forward(y, 0.2)
                dh = ops.leaky_relu_backward(dy, cache)
            found[engine] = results(op, arrays, dh, options)
    for ours, theirs in zip(found["numba"], found["numpy"], strict=True):
        assert_array_equal(np.isfinite(ours), np.isfinite(theirs))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:TF32")
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_as_pytorch(op, geometry):
    """PyTorch's own kernels; those of oneDNN leave out products with padding."""
    torch = pytest.importorskip("torch")
    for name, (x, w, b, dy), options in sweep(op, geometry, "float32"):
        given = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
        with torch.backends.mkldnn.flags(enabled=False):
            y = getattr(torch.nn.functional, op)(*given, *options)
            y.backward(torch.tensor(dy))
        theirs = [a.detach().numpy() for a in (y, *(a.grad for a in given))]
        with sv.using("numba"), convolutions("direct"):
            found = results(op, (x, w, b), dy, options)
        for which, a, b in zip(("y", "dx", "dw", "db"), found, theirs, strict=True):
            assert_array_equal(np.isfinite(a), np.isfinite(b), f"{op} {geometry}: {name}, {which}")
