import numpy as np
import pytest
from drawing import windows
from harness import check_op, convolutions, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.kernels.cpu.convolution.correlate import ALGORITHMS
from scratchvae.ops import conv2d_forward, conv_transpose2d_forward


@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    window=windows(paddings=(0, 2)),
    bias=st.booleans(),
    padded_bytes=st.sampled_from([1, 2000, 1 << 20]),  # one image a tile, a few, all
    algorithm=st.sampled_from(sorted(ALGORITHMS)),  # of the kernel
)
def test_conv2d(engine, seed, batch, channels, window, bias, padded_bytes, algorithm):
    size, kernel, stride, padding = window
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels[0], *size))
    w = rng.standard_normal((channels[1], channels[0], *kernel))
    b = rng.standard_normal(channels[1]) if bias else None
    with convolutions(algorithm, padded_bytes):
        check_op("conv2d", (x, w, b), (stride, padding))


def test_one_by_hand(engine):
    x = np.arange(9.0).reshape(1, 1, 3, 3)
    w = np.array([[1.0, 0.0], [0.0, -1.0]]).reshape(1, 1, 2, 2)
    y, _ = conv2d_forward(*map(on_device, (x, w, np.array([10.0]))))
    expected = np.full((1, 1, 2, 2), 6.0)  # each pixel minus its lower right neighbour is -4
    assert_allclose(sv.asnumpy(y), expected)


def test_many_channels(engine):
    """Long sums for few channels: the kernel computes these channels one by one."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((2, 24, 3, 4)), rng.standard_normal((2, 24, 3, 3))
    with convolutions("direct"):
        check_op("conv2d", (x, w, rng.standard_normal(2)), (1, 1))


def test_large_images(engine):
    """The sums of dw and db have 432 windows, and the CUDA kernel cuts them into parts."""
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 2, 12, 12)), rng.standard_normal((2, 2, 3, 3))
    check_op("conv2d", (x, w, rng.standard_normal(2)), (1, 1), gradient=False)


@given(seed=st.integers(0, 2**32 - 1), window=windows(sides=(2, 7)))
def test_conv_transpose_is_the_adjoint(engine, seed, window):
    """<conv2d(x, w), y> = <x, conv_transpose2d(y, w)>, output padding chosen to give x's size."""
    size, kernel, stride, padding = window
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, 3, *size))
    w = rng.standard_normal((4, 3, *kernel))
    conv_x, _ = conv2d_forward(on_device(x), on_device(w), None, stride, padding)
    y = rng.standard_normal(conv_x.shape)
    forgotten = tuple(
        (n + 2 * p - k) % s for n, p, k, s in zip(size, padding, kernel, stride, strict=True)
    )
    back, _ = conv_transpose2d_forward(on_device(y), on_device(w), None, stride, padding, forgotten)
    conv_x, back = sv.asnumpy(conv_x), sv.asnumpy(back)
    assert_allclose((conv_x * y).sum(), (x * back).sum(), rtol=1e-12, atol=1e-12)


X, W = (2, 3, 4, 4), (5, 3, 3, 3)


@pytest.mark.parametrize(
    ("shapes", "sizes", "error", "message"),
    [
        ((X, (5, 1, 3, 3)), (), ValueError, "conv2d_forward: w .* must have C = 3, got"),
        ((X[1:], W), (), ValueError, r"x must have axes \(N, C, H, W\), got shape"),
        ((X, (5, 3, 9, 9)), (), ValueError, r"window \(9, 9\) is larger .* \(4, 4\)"),
        ((X, W, (4,)), (), ValueError, r"b \(O,\) must have O = 5, got shape \(4,\)"),
        (((0, *X[1:]), W), (), ValueError, r"x is empty: its shape is \(0, 3, 4, 4\)"),
        ((X, W), (0,), ValueError, "stride must be at least 1, got 0"),
        ((X, W), (1.5,), TypeError, "stride must be an int or a pair"),
        ((X, W), (1, -1), ValueError, "padding must be at least 0, got -1"),
        ((X, W), (1, (1, 2, 3)), TypeError, "padding must be an int or a pair"),
    ],
)
def test_errors(engine, shapes, sizes, error, message):
    x, w, b, *_ = *(on_device(np.zeros(shape)) for shape in shapes), None
    with pytest.raises(error, match=message):
        conv2d_forward(x, w, b, *sizes)
