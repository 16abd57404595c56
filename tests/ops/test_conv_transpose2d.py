import numpy as np
import pytest
from harness import check_op, convolutions, on_device
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.kernels.cpu.convolution.correlate import ALGORITHMS
from scratchvae.ops import conv_transpose2d_forward


def pair(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@given(
    seed=st.integers(0, 2**32 - 1),
    batch=st.integers(1, 5),
    channels=pair(1, 3),
    # size, kernel_size, stride, padding, output_padding
    window=st.tuples(pair(1, 4), pair(1, 3), pair(1, 3), pair(0, 2), pair(0, 2)),
    bias=st.booleans(),
    padded_bytes=st.sampled_from([1, 2000, 1 << 20]),  # one image a tile, a few, all
    algorithm=st.sampled_from(sorted(ALGORITHMS)),  # of the kernel
)
def test_conv_transpose2d(engine, seed, batch, channels, window, bias, padded_bytes, algorithm):
    size, kernel, stride, padding, output_padding = window
    sizes = zip(*window, strict=True)
    assume(all(op < s and (n - 1) * s - 2 * p + k + op > 0 for n, k, s, p, op in sizes))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((batch, channels[0], *size))
    w = rng.standard_normal((channels[0], channels[1], *kernel))
    b = rng.standard_normal(channels[1]) if bias else None
    with convolutions(algorithm, padded_bytes):
        check_op("conv_transpose2d", (x, w, b), (stride, padding, output_padding))


def test_large_images(engine):
    """2112 values per channel: on a GPU two blocks share the sum of db."""
    rng = np.random.default_rng(0)
    x, w, b = (rng.standard_normal(shape) for shape in ((2, 1, 33, 32), (1, 2, 1, 1), 2))
    check_op("conv_transpose2d", (x, w, b), ((1, 1), (0, 0), (0, 0)), gradient=False)


def test_one_pixel_paints_w(engine):
    w = np.arange(6.0).reshape(1, 1, 2, 3)
    y, _ = conv_transpose2d_forward(on_device(np.full((1, 1, 1, 1), 2.0)), on_device(w))
    assert_allclose(sv.asnumpy(y), 2 * w)


def test_sizes_of_the_celeba_decoder(engine):
    """k3 s2 p1 with output padding 1 doubles the size; without, it is one less (7 = 2 * 4 - 1)."""
    x, w = on_device(np.zeros((1, 2, 4, 4))), on_device(np.zeros((2, 3, 3, 3)))
    assert conv_transpose2d_forward(x, w, None, 2, 1, 1)[0].shape == (1, 3, 8, 8)
    assert conv_transpose2d_forward(x, w, None, 2, 1)[0].shape == (1, 3, 7, 7)


@pytest.mark.parametrize(
    ("x", "w", "sizes", "message"),
    [
        ((1, 3, 4, 4), (2, 5, 3, 3), (), "conv_transpose2d_forward: w .* must have C = 3"),
        ((1, 2, 4, 4), (2, 5, 3, 3), (2, 1, 2), r"output_padding \(2, 2\) must be smaller than s"),
        ((1, 2, 1, 1), (2, 5, 2, 2), (1, 1), "padding .* leaves an output of 0 x 0"),
        ((1, 2, 4), (2, 5, 3, 3), (), r"x must have axes \(N, C, H, W\)"),
        ((1, 2, 4, 4), (2, 5, 3), (), r"w must have axes \(C, O, KH, KW\)"),
    ],
)
def test_errors(engine, x, w, sizes, message):
    with pytest.raises(ValueError, match=message):
        conv_transpose2d_forward(on_device(np.zeros(x)), on_device(np.zeros(w)), None, *sizes)
