import numpy as np
from drawing import windows
from harness import check_op, on_device
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.ops import max_pool2d_backward, max_pool2d_forward
from scratchvae.ops.cases import distinct


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 3),
    C=st.integers(1, 3),
    window=windows(),
    own_stride=st.booleans(),
)
def test_max_pool2d(engine, seed, N, C, window, own_stride):
    size, kernel, stride, padding = window
    assume(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)))
    x = distinct(np.random.default_rng(seed), (N, C, *size))
    check_op("max_pool2d", (x,), (kernel, stride if own_stride else None, padding))


def pool(x, *sizes):
    """y, and dx for dy = 1; both as NumPy arrays."""
    y, cache = max_pool2d_forward(on_device(x), *sizes)
    dx = max_pool2d_backward(on_device(np.ones(y.shape)), cache)
    return sv.asnumpy(y), sv.asnumpy(dx)


def test_padding_never_wins(engine):
    """Padded with zeros, every border window of a negative image would pool to 0."""
    x = -1 - np.random.default_rng(0).random((2, 3, 4, 4))
    y, dx = pool(x, 3, 2, 1)
    assert y.max() <= -1
    assert dx.sum() == y.size  # no gradient is lost in the padding


def test_a_window_of_nothing_but_minus_infinity(engine):
    """The padding ties with the image there, and must not win."""
    _, dx = pool(np.full((1, 1, 2, 3), -np.inf), 2, 2, 1)
    assert_array_equal(dx, [[[[1, 1, 0], [1, 1, 0]]]])


def test_a_tie_goes_to_the_first_and_to_it_alone(engine):
    _, cache = max_pool2d_forward(on_device(np.zeros((1, 1, 2, 4))), 2)
    dx = max_pool2d_backward(on_device(np.array([[[[5.0, 7.0]]]])), cache)
    assert_array_equal(sv.asnumpy(dx), [[[[5, 0, 7, 0], [0, 0, 0, 0]]]])


def test_the_first_nan_wins(engine):
    y, dx = pool(np.array([[[[1.0, np.nan], [3.0, np.nan]]]]), 2)
    assert np.isnan(y).all()
    assert_array_equal(dx, [[[[0, 1], [0, 0]]]])
