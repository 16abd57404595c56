"""batches: every image once, scaled exactly; WeightedMean: every image counts the same."""

from typing import NamedTuple

import numpy as np
import pytest

from scratchvae.data import WeightedMean, batches

pytestmark = pytest.mark.usefixtures("engine")

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)


class Losses(NamedTuple):
    total: float
    kl: float


def numbered(count):
    """Images that each carry their number in every pixel."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 2, 3))


def numbers(batch):
    return np.rint(batch[:, 0, 0, 0] * 255).astype(int).tolist()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_in_order_with_the_last_batch_smaller(dtype):
    result = list(batches(IMAGES, 4, dtype=dtype))
    assert [x.shape for x in result] == [(4, 1, 28, 28), (4, 1, 28, 28), (2, 1, 28, 28)]
    assert all(x.dtype == dtype for x in result)
    np.testing.assert_array_equal(
        np.concatenate(result)[:, 0], IMAGES.astype(dtype) / np.dtype(dtype).type(255)
    )


def test_a_batch_larger_than_the_set():
    (batch,) = batches(IMAGES, np.int64(99))
    assert batch.shape == (10, 1, 28, 28)


def test_channels_are_kept():
    images = np.random.default_rng(0).integers(0, 256, (3, 2, 5, 4), dtype=np.uint8)
    np.testing.assert_array_equal(
        np.concatenate(list(batches(images, 2))), images.astype("float32") / np.float32(255)
    )


@pytest.mark.parametrize("data_range", [(0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0)])
def test_black_and_white_reach_the_ends_of_the_range_exactly(data_range):
    images = np.array([0, 255, 51], np.uint8).reshape(3, 1, 1)
    (batch,) = batches(images, 3, data_range=data_range)
    low, high = data_range
    assert batch.ravel()[:2].tolist() == [low, high]
    assert batch.ravel()[2] == pytest.approx(low + (high - low) / 5, rel=1e-6)


def test_shuffles_once_per_call_and_loses_nobody():
    rng = np.random.default_rng(3)
    epochs = [[n for x in batches(numbered(100), 7, rng) for n in numbers(x)] for _ in range(2)]
    assert epochs[0] != epochs[1]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(100))
    # One permutation a call and no other draw: a resumed run depends on it.
    expected = np.random.default_rng(3)
    assert epochs == [expected.permutation(100).tolist() for _ in range(2)]
    assert rng.random() == expected.random()


def test_the_permutation_is_drawn_by_the_call_not_by_the_first_batch():
    rng = np.random.default_rng(3)
    batches(numbered(100), 7, rng)
    expected = np.random.default_rng(3)
    expected.permutation(100)
    assert rng.random() == expected.random()


def test_batches_are_fresh_and_the_images_stay():
    before = IMAGES.copy()
    result = list(batches(IMAGES, 4))
    for i, x in enumerate(result):
        assert x.flags.writeable and x.flags.c_contiguous
        assert not any(np.shares_memory(x, other) for other in [IMAGES, *result[:i]])
        x[:] = -1
    np.testing.assert_array_equal(IMAGES, before)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"images": IMAGES / 255}, TypeError, "expected images of uint8, found float64"),
        ({"images": IMAGES[0]}, ValueError, r"shape \(N, H, W\) or .*, found \(28, 28\)"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, found 0"),
        ({"batch_size": -3}, ValueError, "batch_size: expected at least 1, found -3"),
        ({"batch_size": 2.0}, TypeError, "batch_size: expected an int, found 2.0"),
        ({"batch_size": True}, TypeError, "batch_size: expected an int, found True"),
        ({"dtype": "int32"}, TypeError, "expected a floating dtype, found int32"),
        ({"data_range": (1.0, 1.0)}, ValueError, r"low < high, found \(1.0, 1.0\)"),
        ({"data_range": (0.0, np.nan)}, ValueError, "low < high"),
    ],
)
def test_refuses_at_the_call(change, error, message):
    with pytest.raises(error, match=f"^batches: .*{message}|^batches: {message}"):
        batches(**({"images": IMAGES, "batch_size": 4} | change))


def test_a_smaller_batch_counts_only_for_its_own_images():
    mean = WeightedMean[Losses]()
    mean.add(Losses(1.0, 10.0), 3)
    mean.add(Losses(np.float32(5.0), np.float64(30.0)), 1)
    result = mean.mean()
    assert type(result) is Losses and result == Losses(2.0, 15.0)
    assert all(type(value) is float for value in result)


def test_mean_over_batches_is_the_mean_over_images():
    rng = np.random.default_rng(0)
    losses = rng.normal(100, 10, 1000).astype(np.float32)
    mean = WeightedMean[tuple[float]]()
    for start in range(0, 1000, 128):
        part = losses[start : start + 128]
        mean.add((part.mean(dtype=np.float64),), len(part))
    assert mean.mean()[0] == pytest.approx(losses.mean(dtype=np.float64), rel=1e-12)
    assert type(mean.mean()) is tuple


def test_accumulates_in_float64():
    mean = WeightedMean[tuple[np.float32]]()
    for _ in range(2):
        mean.add((np.float32(2**24),), 1)
        mean.add((np.float32(1),), 1)
    assert mean.mean() == ((2**24 + 1) / 2,)


@pytest.mark.parametrize(
    ("values", "n", "error", "message"),
    [
        ((1.0, 2.0), 1, TypeError, "expected a Losses, found a tuple"),
        ([1.0, 2.0], 1, TypeError, "expected a Losses, found a list"),
        (Losses(1.0, 2.0), 0, ValueError, "n: expected at least 1, found 0"),
        (Losses(1.0, 2.0), 0.5, TypeError, "n: expected an int, found 0.5"),
    ],
)
def test_weighted_mean_refuses_and_stays_as_it_was(values, n, error, message):
    mean = WeightedMean[Losses]()
    mean.add(Losses(1.0, 2.0), 2)
    with pytest.raises(error, match=f"^WeightedMean: {message}"):
        mean.add(values, n)
    assert mean.mean() == Losses(1.0, 2.0)


def test_weighted_mean_refuses_another_length_and_no_batches():
    mean = WeightedMean[tuple[float, ...]]()
    with pytest.raises(ValueError, match="expected at least one batch, found none"):
        mean.mean()
    with pytest.raises(TypeError, match="expected a tuple, found a float"):
        mean.add(1.0, 1)
    mean.add((1.0, 2.0), 1)
    with pytest.raises(ValueError, match="expected 2 values, found 1"):
        mean.add((1.0,), 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_range", [(-0.1, 0.1), (0.0, 0.1), (-0.3, 0.9), (-1.0, 0.3)])
def test_no_rounding_steps_over_the_ends(data_range, dtype):
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    (x,) = batches(images, 1, data_range=data_range, dtype=dtype)
    low, high = np.array(data_range, dtype)
    assert x.min() == low and x.max() == high
