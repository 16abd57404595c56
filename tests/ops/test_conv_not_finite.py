"""One NaN or infinity in x, w or dy of a convolution: y, dx, dw and db are not finite at the same
positions on every engine and in PyTorch's own kernels, except on a GPU (see `expected`)."""

from itertools import product

import numpy as np
import pytest
from harness import convolutions, run_op
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


def case(op, geometry, dtype):
    """x, w, b, dy without zeros, and options."""
    image, C, O, kernel_size, stride, padding, output_padding = geometry
    sizes = zip(image, kernel_size, stride, padding, output_padding, strict=True)
    if op == "conv2d":
        grid = [(H + 2 * P - K) // S + 1 for H, K, S, P, _ in sizes]
        w, more = (O, C, *kernel_size), {}
    else:
        grid = [(H - 1) * S - 2 * P + K + OP for H, K, S, P, OP in sizes]
        w, more = (C, O, *kernel_size), {"output_padding": output_padding}
    rng = np.random.default_rng(0)
    shapes = (2, C, *image), w, (O,), (2, O, *grid)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in shapes]
    return arrays, {"stride": stride, "padding": padding} | more


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
        y, dx, dw, db = run_op(op, arrays, options, dy)
        if engine.startswith("cuda"):
            x, w, b = arrays
            stride, padding = options["stride"], options["padding"]
            small, bias = (dy, None) if op == "conv2d" else (x, b)
            zeros = np.pad(small, [(0, 0), (0, 0), *[(k, k) for k in w.shape[2:]]])
            cut = tuple(p + k * s for p, k, s in zip(padding, w.shape[2:], stride, strict=True))
            size = (dx if op == "conv2d" else y).shape[2:]
            w = np.ascontiguousarray(w)
            painted, _ = ops.conv_transpose2d_forward(zeros, w, bias, stride, 0)
            painted = painted[:, :, cut[0] :, cut[1] :][:, :, : size[0], : size[1]]
            y, dx = (y, painted) if op == "conv2d" else (painted, dx)
    return y, dx, dw, db


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
def test_as_the_reference(engine, op, geometry, dtype):
    if engine == "numpy" or (engine == "cuda_on_host" and dtype == "float64"):
        pytest.skip("the reference itself; on the CPU one dtype is enough")
    for name, (*arrays, dy), options in sweep(op, geometry, dtype):
        with convolutions("direct"), np.errstate(all="ignore"):
            found = run_op(op, arrays, options, dy)
            right = expected(op, arrays, dy, options, engine)
        for which, ours, theirs in zip(("y", "dx", "dw", "db"), found, right, strict=True):
            same = f"{op} {geometry}: {name}, {which}"
            assert_array_equal(np.isfinite(ours), np.isfinite(theirs), same)
            assert_array_equal(np.isnan(ours), np.isnan(theirs), same)


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
            y = getattr(torch.nn.functional, op)(*given, **options)
            y.backward(torch.tensor(dy))
        theirs = [a.detach().numpy() for a in (y, *(a.grad for a in given))]
        with sv.using("numba"), convolutions("direct"), np.errstate(all="ignore"):
            found = run_op(op, (x, w, b), options, dy)
        for which, a, b in zip(("y", "dx", "dw", "db"), found, theirs, strict=True):
            assert_array_equal(np.isfinite(a), np.isfinite(b), f"{op} {geometry}: {name}, {which}")
