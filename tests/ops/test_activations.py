"""relu, leaky_relu, sigmoid, tanh: any shape, element by element."""

import numpy as np
import pytest
from harness import check_op
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from scratchvae import ops
from scratchvae.gradcheck.cases import away_from_zero

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
@given(seed=seeds, shape=shapes)
def test_activation(engine, op, seed, shape):
    check_op(op, (away_from_zero(np.random.default_rng(seed), shape),))


@given(seed=seeds, shape=shapes, slope=st.floats(0.01, 1))
def test_leaky_relu_slope(engine, seed, shape, slope):
    x = away_from_zero(np.random.default_rng(seed), shape)
    check_op("leaky_relu", (x,), (slope,))
    assert_allclose(ops.leaky_relu_forward(x, slope)[0], np.where(x > 0, x, slope * x))


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_leaky_relu_slope_of_no_sign(engine, slope):
    """There y has another sign than x, or none."""
    x = away_from_zero(np.random.default_rng(0), (3, 4))
    check_op("leaky_relu", (x,), (slope,))


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
def test_dy_may_have_another_memory_order(engine, op):
    x, dy = np.random.default_rng(0).standard_normal((2, 2, 3, 4, 5))
    nhwc = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    assert_allclose(backward(dy, forward(nhwc)[1]), backward(dy, forward(x)[1]), rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_far_out(engine, dtype):
    """No overflow, no warning, and still digits in the tails."""
    x = np.array([-1000.0, -80.0, -20.0, 0.0, 20.0, 1000.0], dtype)
    expected = [0.0, np.exp(-80.0), 1 / (1 + np.exp(20.0)), 0.5, 1 / (1 + np.exp(-20.0)), 1.0]
    assert_allclose(ops.sigmoid_forward(x)[0], expected, rtol=1e-5 if dtype == "float32" else 1e-14)
    assert_allclose(ops.tanh_forward(x)[0], [-1, -1, -1, 0, 1, 1], atol=1e-7)
    assert_array_equal(ops.relu_forward(x)[0], [0, 0, 0, 0, 20, 1000])


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
def test_nan_stays_nan(engine, op):
    y, _ = getattr(ops, f"{op}_forward")(np.array([np.nan, 1.0]))
    assert np.isnan(y).tolist() == [True, False]


def test_the_kink_has_slope_zero(engine):
    """For backward, and for the complex step, where 0 + ih must count as 0."""
    assert ops.relu_forward(np.array([1e-100j]))[0] == 0
    _, cache = ops.relu_forward(np.array([0.0, 1.0]))
    assert_array_equal(ops.relu_backward(np.array([3.0, 3.0]), cache), [0, 3])
