"""batches: every image once, scaled exactly."""

import numpy as np
import pytest

from scratchvae.data import batches

pytestmark = pytest.mark.usefixtures("engine")

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)


def numbered(count):
    """Images whose pixels all have the image's number as value."""
    return np.broadcast_to(np.arange(count, dtype=np.uint8)[:, None, None], (count, 2, 3))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(10, 28, 28), (10, 2, 5, 4)])
@pytest.mark.parametrize("size", [4, np.int64(99)])
def test_in_order_with_the_last_batch_smaller(dtype, shape, size):
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    result = list(batches(images, size, dtype=dtype))
    assert [len(x) for x in result] == ([4, 4, 2] if size == 4 else [10])
    assert all(x.dtype == dtype and x.ndim == 4 for x in result)
    expected = images.astype(dtype) / np.dtype(dtype).type(255)
    np.testing.assert_array_equal(np.concatenate(result).reshape(shape), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "data_range",
    [
        *[(0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0)],
        *[(-0.1, 0.1), (0.0, 0.1), (-0.3, 0.9), (-1.0, 0.3)],
    ],
)
def test_black_and_white_reach_the_ends_of_the_range_exactly(data_range, dtype):
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    (x,) = batches(images, 1, data_range=data_range, dtype=dtype)
    low, high = np.array(data_range, dtype)
    assert x.min() == x.flat[0] == low and x.max() == x.flat[255] == high
    assert x.flat[51] == pytest.approx(low + (high - low) / 5, rel=1e-6)


def test_shuffles_once_per_call_and_loses_nobody():
    """One permutation, drawn by the call and not by the first batch, and no other draw: resuming a
    run depends on it."""
    rng, expected = np.random.default_rng(3), np.random.default_rng(3)
    for _ in range(2):
        epoch = batches(numbered(100), 7, rng)
        order = expected.permutation(100).tolist()
        assert rng.bit_generator.state == expected.bit_generator.state
        found = np.rint(255 * np.concatenate([*epoch])[:, 0, 0, 0])
        assert found.tolist() == order


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
