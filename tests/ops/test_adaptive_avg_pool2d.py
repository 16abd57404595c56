import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.ops import adaptive_avg_pool2d_forward

side = st.integers(1, 8)


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 2),
    C=st.integers(1, 2),
    size=st.tuples(side, side),
    output_size=st.tuples(side, side),
)
def test_adaptive_avg_pool2d(engine, seed, N, C, size, output_size):
    x = np.random.default_rng(seed).standard_normal((N, C, *size))
    check_op("adaptive_avg_pool2d", (x,), (output_size,))


def test_seven_to_four_overlaps(engine):
    x = np.arange(7.0).reshape(1, 1, 7, 1)
    y, _ = adaptive_avg_pool2d_forward(on_device(x), (4, 1))
    assert_allclose(sv.asnumpy(y).ravel(), [0.5, 2, 4, 5.5])  # rows 0-1, 1-3, 3-5, 5-6


def test_errors(engine):
    with pytest.raises(ValueError, match="adaptive_avg_pool2d_forward: output_size must be at"):
        adaptive_avg_pool2d_forward(on_device(np.zeros((1, 1, 2, 2))), 0)
