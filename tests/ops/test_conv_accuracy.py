"""The accuracy of the kernels' convolutions with every algorithm: the error of y, dx and dw is at
most 5e-6 of the largest number in float32, 1e-12 in float64, or four times the reference's."""

import numpy as np
import pytest
from harness import run_op
from hypothesis import given, settings
from hypothesis import strategies as st

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck import check_layer
from scratchvae.layers import Conv2d

pytestmark = pytest.mark.slow

LIMIT = {"float32": 5e-6, "float64": 1e-12}
KINDS = {
    "independent": lambda rng, shape: rng.standard_normal(shape),
    "positive": lambda rng, shape: rng.random(shape),
    "constant": lambda rng, shape: np.full(shape, 0.1),
}


def check(op, N, C, O, image, kernel_size, options, dtype, kind="independent", kind_of_w=None):
    rng = np.random.default_rng(0)
    x = KINDS[kind](rng, (N, C, *image)).astype(dtype)
    first = (O, C) if op == "conv2d" else (C, O)
    w = KINDS[kind_of_w or "independent"](rng, (*first, *kernel_size)).astype(dtype)

    def dy(shape):
        return KINDS[kind](np.random.default_rng(1), shape).astype(dtype)

    names = "stride", "padding", "output_padding"
    with sv.using("numba"):
        found = run_op(op, (x, w, None), dict(zip(names, options, strict=False)), dy)
    exact = {"float32": "float64", "float64": "longdouble"}[dtype]
    if x.size * w.size > 1e7:  # longdouble has no BLAS, and float64 is accurate enough
        exact = "float64"
    with sv.using("numpy"):
        right = reference(op, x.astype(exact), w.astype(exact), options, dy)
        own = reference(op, x, w, options, dy)
    for name, a, b, c in zip(("y", "dx", "dw"), found, own, right, strict=True):
        size = abs(c).max()
        error, allowed = abs(a - c).max() / size, abs(b - c).max() / size
        assert error <= max(LIMIT[dtype], 4 * allowed), f"{name} is off by {error:.1e} of {size}"


def reference(op, x, w, options, dy):
    """`ops` reject other dtypes than float32 and float64; the reference bodies do not."""
    y, cache = getattr(ops, f"{op}_forward").reference.__wrapped__(x, w, None, *options)
    dy = dy(y.shape).astype(y.dtype)
    return y, *getattr(ops, f"{op}_backward").reference(dy, cache)[:2]


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("K", [5, 7, 9, 11, 13, 15])
def test_kernels_of_any_size(K, dtype):
    check("conv2d", 1, 32, 32, (24, 24), (K, K), ((1, 1), (K // 2, K // 2)), dtype)


@pytest.mark.parametrize("dtype", LIMIT)
@pytest.mark.parametrize("op", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize(
    "image, kernel_size, stride",
    [
        ((28, 28), (28, 28), 1),
        ((20, 33), (1, 31), 1),
        ((33, 20), (31, 1), 2),
        ((26, 30), (13, 14), 2),
        ((36, 32), (13, 15), 4),
        ((12, 260), (4, 18), 1),
    ],
)
def test_large_kernels(op, image, kernel_size, stride, dtype):
    options = ((stride, stride), tuple(k // 2 for k in kernel_size))
    if op == "conv_transpose2d":
        image = tuple(-(-n // (2 * stride)) for n in image)
        options += ((0, 0),)
    check(op, 2, 16, 16, image, kernel_size, options, dtype)


def test_a_picture_in_one_window():
    """The result was once -6.9e16 instead of 13.139645."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 1, 28, 28)).astype("f4")
    w = rng.standard_normal((64, 1, 28, 28)).astype("f4")
    with sv.using("numba"):
        y, _ = ops.conv2d_forward(x, w)
    assert abs(y.flat[0] - 13.139645) < 1e-4


def test_a_bright_pixel_leaves_those_outside_its_window_alone():
    x = np.random.default_rng(0).standard_normal((2, 64, 16, 16)).astype("f4")
    w = np.random.default_rng(1).standard_normal((64, 64, 5, 5)).astype("f4")
    with sv.using("numba"):
        before, _ = ops.conv2d_forward(x, w, None, 1, 2)
        x[0, 0, 8, 8] = 1e8
        after, _ = ops.conv2d_forward(x, w, None, 1, 2)
    changed = abs(after - before)
    changed[0, :, 6:11, 6:11] = 0
    assert changed.max() < 5e-6 * abs(after).max()


@pytest.mark.parametrize("kind", ["positive", "constant"])
@pytest.mark.parametrize(
    "C, O, K, P", [(1, 1, 3, 1), (32, 2, 3, 1), (300, 2, 15, 0), (2, 300, 15, 7), (300, 20, 9, 0)]
)
def test_long_sums(C, O, K, P, kind):
    """Sums of terms with one sign: many channels and taps, or many pixels."""
    N, size = (16, 64) if K == 3 else (1, 16)
    check("conv2d", N, C, O, (size, size), (K, K), ((1, 1), (P, P)), "float32", kind)
    grid = size + 2 * P - K + 1
    options = ((1, 1), (P, P), (0, 0))
    check("conv_transpose2d", N, O, C, (grid, grid), (K, K), options, "float32", kind)


@settings(max_examples=300)
@given(
    op=st.sampled_from(["conv2d", "conv_transpose2d"]),
    N=st.integers(1, 3),
    channels=st.tuples(*[st.sampled_from([1, 2, 7, 16, 33, 64])] * 2),
    kernel_size=st.tuples(*[st.integers(1, 31)] * 2),
    more=st.tuples(*[st.integers(0, 12)] * 2),
    stride=st.tuples(*[st.integers(1, 4)] * 2),
    padding=st.tuples(*[st.integers(0, 15)] * 2),
    dtype=st.sampled_from([*LIMIT]),
    kinds=st.tuples(st.sampled_from([*KINDS]), st.sampled_from(["independent", "positive"])),
)
def test_many_geometries(op, N, channels, kernel_size, more, stride, padding, dtype, kinds):
    padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel_size, strict=True))
    options = stride, padding
    if op == "conv2d":
        sizes = zip(kernel_size, padding, more, strict=True)
        image = tuple(max(1, k - 2 * p) + m for k, p, m in sizes)
    else:
        least = zip(kernel_size, padding, stride, strict=True)
        image = tuple(
            2 + max(0, 2 * p - k) // s + m for (k, p, s), m in zip(least, more, strict=True)
        )
        options += ((0, 0),)
    check(op, N, *channels, image, kernel_size, options, dtype, *kinds)


def test_a_layer_with_a_large_kernel_passes_the_gradient_check():
    with sv.using("numba"):
        rng = np.random.default_rng(0)
        layer = Conv2d(16, 16, 9, rng=rng, dtype="float64")
        check_layer(layer, rng.standard_normal((2, 16, 12, 12)), samples=20)
