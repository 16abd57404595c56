import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.gradcheck import tensor_error
from scratchvae.ops import batch_norm_backward, batch_norm_forward


def draw(rng, shape):
    C = shape[1]
    return (
        rng.standard_normal(shape) + 0.3,
        rng.standard_normal(C),
        rng.uniform(0.5, 2.0, C),
        rng.choice([-1.0, 1.0], C) * rng.uniform(0.5, 2.0, C),
        rng.standard_normal(C),
    )


@given(
    seed=st.integers(0, 2**32 - 1),
    N=st.integers(1, 4),
    C=st.integers(1, 3),
    image=st.one_of(st.just(()), st.tuples(st.integers(1, 4), st.integers(1, 4))),
    training=st.booleans(),
)
def test_batch_norm(engine, seed, N, C, image, training):
    shape = (N, C, *image)
    # dx has no constant part and no part along x_hat: for two values it is zero, for a few values
    # smaller than the rounding of the differences
    if training and np.prod(shape) < 6 * C:
        shape = (6, C, *image)
    arrays = draw(np.random.default_rng(seed), shape)
    linear = ("w", "b") if training else ("x", "w", "b")
    check_op("batch_norm", arrays, (training,), differentiable=(0, 3, 4), linear=linear)


@pytest.mark.parametrize("training", [True, False])
def test_a_long_batch(engine, training):
    """Moments and gradients are merged from chunks of rows; 131 = 2 * 64 + 3."""
    arrays = draw(np.random.default_rng(0), (131, 2))
    arrays[0][64:] += 3  # chunks of different means
    check_op("batch_norm", arrays, (training,), differentiable=(0, 3, 4), gradient=False)


@pytest.mark.parametrize("training", [True, False])
def test_large_images(engine, training):
    """2349 values per channel: on a GPU two blocks share them."""
    arrays = draw(np.random.default_rng(0), (3, 2, 27, 29))
    check_op("batch_norm", arrays, (training,), differentiable=(0, 3, 4), gradient=False)


def test_far_from_zero(engine):
    """mean(x^2) - mean(x)^2 would have no correct digit."""
    x, mean, var, w, b = draw(np.random.default_rng(0), (5, 2, 13, 11))  # a few values per thread
    x += 1e6
    _, _, (_, new_var) = forward(x, mean, var, w, b, training=True, momentum=1.0)
    assert_allclose(new_var, (x - 1e6).var(axis=(0, 2, 3), ddof=1), rtol=1e-9)


def forward(*arrays, training, **options):
    """y, the cache, and the new statistics; takes and returns NumPy arrays."""
    y, cache, statistics = batch_norm_forward(*map(on_device, arrays), training, **options)
    return sv.asnumpy(y), cache, [sv.asnumpy(a) for a in statistics]


def backward(dy, cache):
    return [sv.asnumpy(a) for a in batch_norm_backward(on_device(dy), cache)]


def test_normalises_each_channel(engine):
    x, mean, var, w, b = draw(np.random.default_rng(0), (6, 3, 4, 5))
    y, _, _ = forward(5 * x + 2, mean, var, np.ones(3), np.zeros(3), training=True)
    assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-12)
    assert_allclose(y.var(axis=(0, 2, 3)), 1, rtol=1e-5)


def test_running_statistics(engine):
    """The running variance is unbiased (divided by M - 1), the normalising one biased."""
    x, mean, var, w, b = draw(np.random.default_rng(0), (4, 2, 3, 3))
    _, _, (new_mean, new_var) = forward(x, mean, var, w, b, training=True, momentum=0.3)
    assert_allclose(new_mean, 0.7 * mean + 0.3 * x.mean(axis=(0, 2, 3)), rtol=1e-12)
    assert_allclose(new_var, 0.7 * var + 0.3 * x.var(axis=(0, 2, 3), ddof=1), rtol=1e-12)

    y, _, (same_mean, same_var) = forward(x, mean, var, w, b, training=False)
    assert_allclose(same_mean, mean, rtol=0)
    assert_allclose(same_var, var, rtol=0)
    expected = (x - mean[:, None, None]) / np.sqrt(var[:, None, None] + 1e-5)
    assert_allclose(y, w[:, None, None] * expected + b[:, None, None], rtol=1e-12, atol=1e-12)


def test_evaluation_treats_the_statistics_as_constants(engine):
    x, mean, var, w, b = draw(np.random.default_rng(0), (4, 2, 3, 3))
    dy = np.random.default_rng(1).standard_normal(x.shape)
    _, cache, _ = forward(x, mean, var, w, b, training=False)
    dx, _, _ = backward(dy, cache)
    assert_allclose(dx, dy * (w / np.sqrt(var + 1e-5))[:, None, None], rtol=1e-12)


def test_errors(engine):
    x, mean, var, w, b = draw(np.random.default_rng(0), (1, 2, 1, 1))
    with pytest.raises(ValueError, match="batch_norm_forward: training needs more than one value"):
        forward(x, mean, var, w, b, training=True)
    forward(x, mean, var, w, b, training=False)  # evaluation does not need several values
    with pytest.raises(ValueError, match=r"running_var \(C,\) must have C = 2, got shape \(1,\)"):
        forward(x, mean, var[:1], w, b, training=False)
    with pytest.raises(ValueError, match=r"x must have axes \(N, C\) or \(N, C, H, W\)"):
        forward(x[0], *(a[:1] for a in (mean, var, w, b)), training=False)


@pytest.mark.parametrize("memory_order", ["NCHW", "NHWC"])
def test_float32_sums_keep_their_digits(memory_order):
    """Summed in one pass over NHWC memory, the mean of 64 x 32 x 32 values is 1e-5 off."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 64, 3, 32, 32))
    x += 1
    w, b, mean, var = rng.uniform(0.5, 2, (4, 3))

    def results(dtype):
        arrays = [a.astype(dtype) for a in (x, mean, var, w, b, dy)]
        if memory_order == "NHWC":
            for i in (0, 5):
                arrays[i] = np.ascontiguousarray(arrays[i].transpose(0, 2, 3, 1))
                arrays[i] = arrays[i].transpose(0, 3, 1, 2)
        y, cache, statistics = batch_norm_forward(*arrays[:5], training=True)
        return y, *statistics, *batch_norm_backward(arrays[5], cache)

    for exact, ours in zip(results("float64"), results("float32"), strict=True):
        assert tensor_error(exact, ours) <= 1e-6
