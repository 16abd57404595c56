"""relu, leaky_relu, sigmoid, tanh: any shape, element by element."""

import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.ops.cases import away_from_zero

shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
@given(seed=seeds, shape=shapes)
def test_activation(engine, op, seed, shape):
    check_op(op, (away_from_zero(np.random.default_rng(seed), shape),))


@given(seed=seeds, shape=shapes, slope=st.floats(0.01, 2))
def test_leaky_relu_slope(engine, seed, shape, slope):
    x = away_from_zero(np.random.default_rng(seed), shape)
    check_op("leaky_relu", (x,), (slope,))
    y, _ = ops.leaky_relu_forward(on_device(x), slope)
    assert_allclose(sv.asnumpy(y), np.where(x > 0, x, slope * x))


@pytest.mark.parametrize("slope", [0.0, -0.5])
def test_leaky_relu_slope_of_no_sign(engine, slope):
    """With such a slope y has another sign than x, or is zero."""
    x = away_from_zero(np.random.default_rng(0), (3, 4))
    check_op("leaky_relu", (x,), (slope,))


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
def test_dy_may_have_another_memory_order(engine, op):
    x, dy = np.random.default_rng(0).standard_normal((2, 2, 3, 4, 5))
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    nhwc = on_device(np.ascontiguousarray(x.transpose(0, 2, 3, 1))).transpose(0, 3, 1, 2)
    dx, expected = (
        sv.asnumpy(backward(on_device(dy), forward(a)[1])) for a in (nhwc, on_device(x))
    )
    assert_allclose(dx, expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_formulas_far_out(engine, dtype):
    """No overflow, no warning, and correct digits in the tails."""
    x = np.array([-np.inf, -1000.0, -80.0, -20.0, 0.0, 20.0, 1000.0, np.inf], dtype)
    tail = 1 / (1 + np.exp(20.0))
    expected = [0, 0, np.exp(-80.0), tail, 0.5, 1 - tail, 1, 1]
    forwards = ops.sigmoid_forward, ops.tanh_forward, ops.relu_forward
    sigmoid, tanh, relu = (sv.asnumpy(forward(on_device(x))[0]) for forward in forwards)
    assert_allclose(sigmoid, expected, rtol=1e-5 if dtype == "float32" else 1e-14)
    assert_allclose(tanh, [-1, -1, -1, -1, 0, 1, 1, 1], atol=1e-7)
    assert_array_equal(relu, [0, 0, 0, 0, 0, 20, 1000, np.inf])


@pytest.mark.parametrize("op", ["relu", "leaky_relu", "sigmoid", "tanh"])
def test_nan_stays_nan(engine, op):
    y, _ = getattr(ops, f"{op}_forward")(on_device(np.array([np.nan, 1.0])))
    assert np.isnan(sv.asnumpy(y)).tolist() == [True, False]


def test_the_kink_has_slope_zero(engine):
    """In backward, and in the complex step, where 0 + ih must count as 0."""
    y, _ = ops.relu_forward(on_device(np.array([1e-100j])))
    assert sv.asnumpy(y) == 0
    _, cache = ops.relu_forward(on_device(np.array([0.0, 1.0])))
    dx = ops.relu_backward(on_device(np.array([3.0, 3.0])), cache)
    assert_array_equal(sv.asnumpy(dx), [0, 3])
