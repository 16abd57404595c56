"""batches: every image once, scaled exactly."""

import numpy as np
import pytest

from scratchvae.data import batches

pytestmark = pytest.mark.usefixtures("engine")

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)


def numbered(count):
    """Images whose pixels all have the image's number as value."""
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
    # One permutation per call and no other draw: resuming a run depends on it.
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


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("data_range", [(-0.1, 0.1), (0.0, 0.1), (-0.3, 0.9), (-1.0, 0.3)])
def test_no_rounding_steps_over_the_ends(data_range, dtype):
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    (x,) = batches(images, 1, data_range=data_range, dtype=dtype)
    low, high = np.array(data_range, dtype)
    assert x.min() == low and x.max() == high
