"""kl_free_bits: a floor under the batch mean of each latent dimension."""

import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.ops.cases import far_and_near

FREE_BITS = 0.3  # above 0.04 and below 0.68, the KL of what far_and_near draws
seeds = st.integers(0, 2**32 - 1)
shapes = st.lists(st.integers(1, 4), max_size=2).map(tuple)


def draw(seed, shape):
    """mu and logvar: along the last axis, dimensions above and below the floor alternate."""
    rng = np.random.default_rng(seed)
    return far_and_near(rng, shape), far_and_near(rng, shape)


def run(op, mu, logvar, *options):
    """y, dmu, dlogvar with dy = 1, 2, ..., N."""
    y, cache = getattr(ops, f"{op}_forward")(on_device(mu), on_device(logvar), *options)
    dy = np.arange(1, 1 + len(mu)).astype(mu.dtype)
    gradients = getattr(ops, f"{op}_backward")(on_device(dy), cache)
    return [*map(sv.asnumpy, (y, *gradients))]


@given(seed=seeds, N=st.integers(1, 5), others=shapes, D=st.integers(1, 5))
def test_kl_free_bits(engine, seed, N, others, D):
    check_op("kl_free_bits", draw(seed, (N, *others, D)), (FREE_BITS,))


def test_one_number_for_each_image(engine):
    """mu and logvar of shape (N,), as the model skip has them, are one dimension."""
    mu, logvar = (a[:, 0] for a in draw(0, (4, 1)))
    check_op("kl_free_bits", (mu, logvar), (FREE_BITS,))
    y, dmu, dlogvar = run("kl_free_bits", mu, logvar, 5.0)
    assert_array_equal(y, [5.0] * 4)
    assert not dmu.any()
    assert not dlogvar.any()


def test_many_images_and_dimensions(engine):
    """More than the warps and lanes of one block. Every other mean is about 1.9; with half of the
    images it would be below the floor."""
    check_op("kl_free_bits", draw(0, (70, 75)), (1.5,), gradient=False)


@given(seed=seeds, N=st.integers(1, 5), others=shapes, free_bits=st.floats(0, 3))
def test_the_mean_is_the_sum_of_the_larger_ones(engine, seed, N, others, free_bits):
    """Equation 15: the sum over the dimensions of max(free_bits, mean over the batch)."""
    mu, logvar = np.random.default_rng(seed).standard_normal((2, N, *others, 3))
    kl = 0.5 * (mu**2 + np.exp(logvar) - 1 - logvar)
    expected = np.maximum(free_bits, kl.mean(axis=0)).sum()
    assert_allclose(run("kl_free_bits", mu, logvar, free_bits)[0].mean(), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2, 2)])
def test_none_is_the_kl(engine, shape, dtype):
    """Bit for bit, except on CUDA, where the compiler may round two kernels differently."""
    mu, logvar = np.random.default_rng(0).standard_normal((2, *shape)).astype(dtype)
    rounding = 2 * np.finfo(dtype).eps if engine.startswith("cuda") else 0
    for ours, expected in zip(
        run("kl_free_bits", mu, logvar, 0), run("kl", mu, logvar), strict=True
    ):
        assert_allclose(ours, expected, rtol=rounding)


def test_the_mean_over_the_batch_decides(engine):
    """Not each image: dimension 0 has an image below the floor, but a mean above it; dimension 1
    has an image above the floor, but a mean below it."""
    mu = np.array([[0.0, 1.2], [3.0, 0.0], [1.0, 0.0]])  # KL: mu^2 / 2, the means 1.67 and 0.24
    y, dmu, _ = run("kl_free_bits", mu, np.zeros_like(mu), 0.5)
    assert_allclose(y, [0.0 + 0.5, 4.5 + 0.5, 0.5 + 0.5])
    assert_array_equal(dmu, [[0, 0], [2 * 3.0, 0], [3 * 1.0, 0]])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("which", [0, 1])
def test_what_is_not_finite_is_not_swallowed(engine, bad, which):
    """A NaN mean does not count as below the floor: its image has y = NaN, as with `kl`."""
    arrays = draw(0, (3, 4))
    arrays[which][1, 3] = bad  # in a dimension that would be free
    with np.errstate(invalid="ignore", over="ignore"):
        y, dmu, _ = run("kl_free_bits", *arrays, FREE_BITS)
    assert_array_equal(np.isfinite(y), [True, False, True])
    if which == 0:
        assert not np.isfinite(dmu[1, 3])


@pytest.mark.parametrize("free_bits", [-0.1, float("nan"), float("inf")])
def test_free_bits_must_be_a_number_of_at_least_0(free_bits):
    a = np.zeros((2, 3))
    with pytest.raises(ValueError, match="kl_free_bits_forward: free_bits must be a number of at "):
        ops.kl_free_bits_forward(a, a, free_bits)
