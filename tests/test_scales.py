import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import scratchvae as sv
from scratchvae.evaluation.scales import loss_scales

positive = st.floats(1e-3, 1e3)


def test_the_weight_of_the_celeba_document():
    """mean-MSE + 0.00025 KL on 3 x 64 x 64 is SSE + 3.072 KL, or beta = 1.536 at unit variance."""
    scales = loss_scales(3 * 64 * 64, mean=0.00025)
    assert scales == pytest.approx((12_288, 0.00025, 3.072, 1.536, 1.0))
    assert loss_scales(12_288, mean=0.00025, beta=1.0).sigma == pytest.approx(math.sqrt(1.536))


@given(elements=st.integers(1, 10**6), sigma=positive, beta=positive)
def test_all_ways_lead_to_the_same_scales(elements, sigma, beta):
    scales = loss_scales(elements, beta=beta, sigma=sigma)
    for name in ("mean", "sum"):
        weight = {name: getattr(scales, name)}
        assert loss_scales(elements, **weight, sigma=sigma) == pytest.approx(scales)
        assert loss_scales(elements, **weight, beta=beta) == pytest.approx(scales)


def test_gradients_differ_by_the_factor_alone():
    """The three objectives, built from the ops, have proportional gradients."""
    rng = np.random.default_rng(0)
    image, x = rng.random((2, 4, 3, 5, 5))
    P, scales = 75, loss_scales(75, mean=0.01, sigma=0.3)

    def gradient(reduction, scale, weight):
        error, cache = sv.ops.mse_forward(image, x, reduction)
        kl, kl_cache = sv.ops.kl_forward(image, x)  # any mu and logvar are fine
        _, elbo_cache = sv.ops.elbo_forward(scale * error, kl, weight)
        derror, dkl = sv.ops.elbo_backward(1.0, elbo_cache)
        return sv.ops.mse_backward(scale * derror, cache) + sv.ops.kl_backward(dkl, kl_cache)[0]

    mean = gradient("mean", 1.0, scales.mean)
    np.testing.assert_allclose(gradient("sum", 1.0, scales.sum), P * mean)
    variance = 0.3**2
    nats = gradient("sum", 1 / (2 * variance), scales.beta)
    np.testing.assert_allclose(nats, P * mean / (2 * variance))


def test_neg_elbo_is_that_of_a_gaussian():
    rng = np.random.default_rng(0)
    x, mean = rng.random((2, 12))
    log_p = -0.5 * ((x - mean) / 0.7) ** 2 - np.log(0.7 * np.sqrt(2 * np.pi))
    scales = loss_scales(12, beta=4.0, sigma=0.7)
    assert scales.neg_elbo(((x - mean) ** 2).mean(), 2.5) == pytest.approx(2.5 - log_p.sum())


@pytest.mark.parametrize("given", [{}, {"sigma": 1.0}, {"mean": 1.0, "sum": 1.0},
                                   {"mean": 1.0, "beta": 1.0, "sigma": 1.0}])  # fmt: skip
def test_too_little_or_too_much(given):
    with pytest.raises(ValueError, match="loss_scales: give one of mean, sum and beta.*; got "):
        loss_scales(10, **given)


@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1"])
def test_numbers_must_be_above_zero(bad):
    for name in ("mean", "sum", "beta"):
        with pytest.raises(ValueError, match=f"loss_scales: {name} must be a number above 0, got"):
            loss_scales(10, **{name: bad})
    with pytest.raises(ValueError, match="loss_scales: elements must be a number above 0, got"):
        loss_scales(bad, mean=1.0)
