import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae.ops import upsample_nearest_forward

small = st.integers(1, 4)


@given(
    seed=st.integers(0, 2**32 - 1),
    N=small,
    C=small,
    size=st.tuples(small, small),
    factor=st.tuples(small, small),
)
def test_upsample_nearest(engine, seed, N, C, size, factor):
    x = np.random.default_rng(seed).standard_normal((N, C, *size))
    check_op("upsample_nearest", (x,), (factor,))


def test_blocks(engine):
    y, _ = upsample_nearest_forward(on_device(np.array([[[[1.0, 2.0]]]])), 2)
    assert_array_equal(sv.asnumpy(y), [[[[1, 1, 2, 2], [1, 1, 2, 2]]]])


def test_errors(engine):
    with pytest.raises(TypeError, match="upsample_nearest_forward: scale_factor must be an int"):
        upsample_nearest_forward(on_device(np.zeros((1, 1, 2, 2))), 1.5)
