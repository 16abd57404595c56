import numpy as np
from harness import check_op
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from scratchvae.gradcheck.cases import distinct
from scratchvae.ops import max_pool2d_backward, max_pool2d_forward

small = st.integers(1, 3)


@given(
    seed=st.integers(0, 2**32 - 1),
    N=small,
    C=small,
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    kernel=st.tuples(small, small),
    stride=st.one_of(st.none(), st.tuples(small, small)),
    padding=st.tuples(st.integers(0, 1), st.integers(0, 1)),
)
def test_max_pool2d(engine, seed, N, C, size, kernel, stride, padding):
    assume(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)))
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    x = distinct(np.random.default_rng(seed), (N, C, *size))
    check_op("max_pool2d", (x,), (kernel, stride, padding))


def test_padding_never_wins(engine):
    """Padded with zeros, every border window of a negative image would pool to 0."""
    x = -1 - np.random.default_rng(0).random((2, 3, 4, 4))
    y, cache = max_pool2d_forward(x, 3, 2, 1)
    assert y.max() <= -1
    assert max_pool2d_backward(np.ones_like(y), cache).sum() == y.size  # no gradient lost in it


def test_a_window_of_nothing_but_minus_infinity(engine):
    """The padding ties with the image there, and must not win either."""
    x = np.full((1, 1, 2, 3), -np.inf)
    y, cache = max_pool2d_forward(x, 2, 2, 1)
    assert_array_equal(max_pool2d_backward(np.ones_like(y), cache), [[[[1, 1, 0], [1, 1, 0]]]])


def test_a_tie_goes_to_the_first_and_to_it_alone(engine):
    y, cache = max_pool2d_forward(np.zeros((1, 1, 2, 4)), 2)
    dx = max_pool2d_backward(np.array([[[[5.0, 7.0]]]]), cache)
    assert_array_equal(dx, [[[[5, 0, 7, 0], [0, 0, 0, 0]]]])


def test_nan_wins(engine):
    x = np.array([[[[1.0, np.nan], [3.0, 2.0]]]])
    y, cache = max_pool2d_forward(x, 2)
    assert np.isnan(y).all()
    assert_array_equal(max_pool2d_backward(np.ones_like(y), cache), [[[[0, 1], [0, 0]]]])
