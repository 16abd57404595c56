import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.ops import mean_logvar_forward

shapes = st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))


@given(seed=st.integers(0, 2**32 - 1), shape=shapes, eps=st.sampled_from([1e-3, 0.5]))
def test_mean_logvar(engine, seed, shape, eps):
    rng = np.random.default_rng(seed)
    check_op("mean_logvar", (rng.standard_normal(shape) + 2,), (eps,))


def test_it_is_the_log_of_the_variance(engine):
    """Not the log of the deviation, and not log(var^2), a mistake in the tutorial of `skip`."""
    x = 3 + np.exp(-1.5 / 2) * np.random.default_rng(0).standard_normal((2, 8, 100, 100))
    y, _ = mean_logvar_forward(on_device(x))
    assert_allclose(sv.asnumpy(y), [[3, 3], [-1.5, -1.5]], atol=0.02)


def test_a_constant_image_has_a_finite_logvar(engine):
    y, _ = mean_logvar_forward(on_device(np.full((1, 5), 2.0)))
    assert_allclose(sv.asnumpy(y), [[2], [np.log(1e-6)]])


def test_a_small_variance_beside_a_large_mean_keeps_its_digits(engine):
    """mean(x^2) - mean(x)^2 would have four correct digits here."""
    x = 1000 + 1e-3 * np.random.default_rng(0).standard_normal((3, 700))
    y, _ = mean_logvar_forward(on_device(x), 1e-12)
    deviation = (x - 1000) - (x - 1000).mean(axis=1, keepdims=True)
    assert_allclose(np.exp(sv.asnumpy(y)[1]), (deviation**2).mean(axis=1) + 1e-12, rtol=1e-8)


@pytest.mark.parametrize("eps", [0, -1e-6, float("nan")])
def test_eps_must_be_above_zero(eps):
    with pytest.raises(ValueError, match="mean_logvar_forward: eps must be above 0, got"):
        mean_logvar_forward(np.ones((2, 3)), eps)


def test_one_axis_is_no_batch_of_images():
    with pytest.raises(ValueError, match=r"x must have axes \(N, P, ...\), got shape \(3,\)"):
        mean_logvar_forward(np.ones(3))
