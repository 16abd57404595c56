"""reparameterize, bce, mse, kl and elbo: the objective and its parts."""

import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import assume, example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import ops

seeds = st.integers(0, 2**32 - 1)
batches = st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4))


@given(seed=seeds, shape=batches)
def test_reparameterize(engine, seed, shape):
    mu, logvar, eps = np.random.default_rng(seed).standard_normal((3, *shape))
    check_op("reparameterize", (mu, logvar, eps), differentiable=(0, 1))


def test_z_has_the_variance_that_the_kl_means(engine):
    """The mistake std = exp(logvar): a gradient check cannot find it, this test does."""
    eps = np.random.default_rng(0).standard_normal((200_000, 1))
    mu, logvar = np.full_like(eps, 3.0), np.full_like(eps, -1.5)
    z, _ = ops.reparameterize_forward(*map(on_device, (mu, logvar, eps)))
    z = sv.asnumpy(z)
    assert_allclose(z.mean(), 3.0, atol=0.01)
    assert_allclose(z.var(), np.exp(-1.5), rtol=0.02)


@given(seed=seeds, shape=batches)
def test_bce(engine, seed, shape):
    rng = np.random.default_rng(seed)
    logits, target = rng.standard_normal(shape), rng.random(shape)
    assume(np.abs(1 / (1 + np.exp(-logits)) - target).max() > 0.01)  # else dlogits is only rounding
    check_op("bce", (logits, target), differentiable=(0,))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bce_of_extreme_logits(engine, dtype):
    """Here clipped probabilities would give 4e15 or a gradient of zero."""
    logits, target = np.array([[1e4], [-1e4], [1e4]], dtype), np.array([[0], [1], [1]], dtype)
    y, cache = ops.bce_forward(on_device(logits), on_device(target))
    dlogits = ops.bce_backward(on_device(np.ones(3, dtype)), cache)
    assert_allclose(sv.asnumpy(y), [1e4, 1e4, 0])
    assert_allclose(sv.asnumpy(dlogits), [[1], [-1], [0]])


def test_bce_is_smooth_at_zero():
    """logit 0 is not a kink: the complex step must give the slope s(0) - t = 0.2 there."""
    y, _ = ops.bce_forward(np.array([[1e-100j]]), np.array([[0.3]]))
    assert_allclose(y.imag / 1e-100, 0.2)


@pytest.mark.parametrize("bad", [-0.01, 1.01, np.nan])
def test_bce_refuses_targets_that_are_no_probabilities(engine, bad):
    """On the GPU, where checking the targets would mean waiting, that image's loss is NaN."""
    logits, target = np.zeros((2, 3)), np.full((2, 3), 0.5)
    target[1, 2] = bad
    if engine.startswith("cuda"):
        y, _ = ops.bce_forward(on_device(logits), on_device(target))
        assert_array_equal(np.isnan(sv.asnumpy(y)), [False, True])
        return
    with pytest.raises(ValueError, match=r"bce_forward: target must lie in \[0, 1\], got values"):
        ops.bce_forward(logits, target)


@given(seed=seeds, shape=batches, reduction=st.sampled_from(["mean", "sum"]))
def test_mse(engine, seed, shape, reduction):
    prediction, target = np.random.default_rng(seed).standard_normal((2, *shape))
    check_op("mse", (prediction, target), (reduction,), differentiable=(0,))


def test_mse_refuses_other_reductions(engine):
    a = on_device(np.zeros((2, 3)))
    with pytest.raises(ValueError, match="mse_forward: reduction must be 'mean' or .* got 'none'"):
        ops.mse_forward(a, a, "none")


@example(seed=268435457, shape=(1, 1, 1))  # kl_naive subtracts two equal numbers
@example(seed=412, shape=(1, 1, 1))  # differences round the gradient for a tiny logvar
@given(seed=seeds, shape=batches)
def test_kl(engine, seed, shape):
    mu, logvar = np.random.default_rng(seed).standard_normal((2, *shape))
    check_op("kl", (mu, logvar))


def test_kl_is_the_divergence(engine):
    """Compared with its definition, E over q of log q(z) - log p(z), integrated numerically."""
    mu, logvar = 0.7, -0.9
    z = np.linspace(-12, 12, 200_001)
    log_q = -0.5 * ((z - mu) ** 2 / np.exp(logvar) + logvar + np.log(2 * np.pi))
    log_p = -0.5 * (z**2 + np.log(2 * np.pi))
    integral = np.trapezoid(np.exp(log_q) * (log_q - log_p), z)
    y, _ = ops.kl_forward(on_device(np.full((1, 3), mu)), on_device(np.full((1, 3), logvar)))
    assert_allclose(sv.asnumpy(y), 3 * integral, rtol=1e-8)


def test_kl_near_zero_keeps_its_digits(engine):
    """exp(v) - 1 - v is v^2 / 2 for small v; computed as written it would only be rounding. And
    exp(v) - 1, the gradient, would lose six digits."""
    y, cache = ops.kl_forward(on_device(np.zeros((1, 1))), on_device(np.full((1, 1), 1e-6)))
    assert_allclose(sv.asnumpy(y), 0.25e-12, rtol=1e-6)
    _, dlogvar = ops.kl_backward(on_device(np.ones(1)), cache)
    assert_allclose(sv.asnumpy(dlogvar), np.expm1([[1e-6]]) / 2, rtol=1e-14)


@given(seed=seeds, N=st.integers(1, 6), beta=st.floats(0.1, 10))
def test_elbo(engine, seed, N, beta):
    reconstruction, kl = np.random.default_rng(seed).uniform(1, 2, (2, N))
    check_op("elbo", (reconstruction, kl), (beta,))


def test_elbo_is_a_mean_over_the_batch(engine):
    """A term must not be divided by N twice: twice the batch, the same losses, halved gradients."""
    reconstruction, kl = np.array([10.0, 20.0]), np.array([1.0, 3.0])

    def losses_and_gradients(*arrays):
        losses, cache = ops.elbo_forward(*map(on_device, arrays), 0.5)
        return [tuple(map(sv.asnumpy, of)) for of in (losses, ops.elbo_backward(1.0, cache))]

    losses, gradients = losses_and_gradients(reconstruction, kl)
    assert losses == (16.0, 15.0, 2.0)
    twice, halved_gradients = losses_and_gradients(np.tile(reconstruction, 2), np.tile(kl, 2))
    assert twice == losses
    for once, halved in zip(gradients, halved_gradients, strict=True):
        assert_allclose(np.tile(once, 2) / 2, halved)


@pytest.mark.parametrize("op", ["reparameterize", "bce", "mse", "kl", "kl_free_bits", "elbo"])
def test_shapes_must_agree(engine, op):
    *arrays, last = map(on_device, ops.CASES[op][0].arrays(0).values())
    with pytest.raises(ValueError, match=rf"{op}_forward: \w+ .*must have .* got "):
        getattr(ops, f"{op}_forward")(*arrays, last[..., 1:], **ops.CASES[op][0].options)
