import numpy as np
from harness import check_op, on_device
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.ops import avg_pool2d_forward

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
def test_avg_pool2d(engine, seed, N, C, size, kernel, stride, padding):
    assume(all(2 * p <= k for p, k in zip(padding, kernel, strict=True)))
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    x = np.random.default_rng(seed).standard_normal((N, C, *size))
    check_op("avg_pool2d", (x,), (kernel, stride, padding))


def test_padding_counts(engine):
    y, _ = avg_pool2d_forward(on_device(np.ones((1, 1, 2, 2))), 2, 2, 1)
    assert_allclose(sv.asnumpy(y), np.full((1, 1, 2, 2), 0.25))
