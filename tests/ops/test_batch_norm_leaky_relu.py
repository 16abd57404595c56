import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from test_batch_norm import draw

import scratchvae as sv
from scratchvae import ops


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(2, 4),
    C=st.integers(1, 3),
    image=st.one_of(st.just(()), st.tuples(st.integers(2, 4), st.integers(2, 4))),
    training=st.booleans(),
    slope=st.sampled_from([0.0, 0.01, 0.2, 1.0, -0.5]),
)
def test_batch_norm_leaky_relu(engine, seed, N, C, image, training, slope):
    shape = (N, C, *image) if image else (6 * N, C)
    arrays = draw(np.random.default_rng(seed), shape)
    h, _, _ = ops.batch_norm_forward(*arrays, training)
    arrays[4][...] += 0.5 * (np.abs(h).min() < 1e-3)  # if h is close to the kink, shift it
    h, _, _ = ops.batch_norm_forward(*arrays, training)
    near = np.abs(h).min() < 1e-3
    check_op(
        "batch_norm_leaky_relu",
        arrays,
        (training, 0.1, 1e-5, slope),
        differentiable=(0, 3, 4),
        gradient=not near,
    )


@pytest.mark.parametrize("training", [True, False])
def test_is_the_one_after_the_other(engine, training):
    x, *rest = map(on_device, draw(np.random.default_rng(0), (5, 3, 4, 6)))
    dy = on_device(np.random.default_rng(1).standard_normal(x.shape))
    y, cache, running = ops.batch_norm_leaky_relu_forward(x, *rest, training, 0.3, 1e-3, 0.2)
    h, norm_cache, expected_running = ops.batch_norm_forward(x, *rest, training, 0.3, 1e-3)
    expected, relu_cache = ops.leaky_relu_forward(h, 0.2)
    assert_allclose(sv.asnumpy(y), sv.asnumpy(expected), atol=1e-12)
    for one, other in zip(running, expected_running, strict=True):
        assert_allclose(sv.asnumpy(one), sv.asnumpy(other), rtol=1e-12)
    gradients = ops.batch_norm_leaky_relu_backward(dy, cache)
    dh = ops.leaky_relu_backward(dy, relu_cache)
    for one, other in zip(gradients, ops.batch_norm_backward(dh, norm_cache), strict=True):
        assert_allclose(sv.asnumpy(one), sv.asnumpy(other), rtol=1e-12, atol=1e-12)
