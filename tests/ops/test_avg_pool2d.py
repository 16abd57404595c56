import numpy as np
from drawing import windows
from harness import check_op, on_device
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.ops import avg_pool2d_forward


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 3),
    C=st.integers(1, 3),
    window=windows(),
    own_stride=st.booleans(),
)
def test_avg_pool2d(engine, seed, N, C, window, own_stride):
    size, kernel, stride, padding = window
    assume(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)))
    x = np.random.default_rng(seed).standard_normal((N, C, *size))
    check_op("avg_pool2d", (x,), (kernel, stride if own_stride else None, padding))


def test_padding_counts(engine):
    y, _ = avg_pool2d_forward(on_device(np.ones((1, 1, 2, 2))), 2, 2, 1)
    assert_allclose(sv.asnumpy(y), np.full((1, 1, 2, 2), 0.25))
