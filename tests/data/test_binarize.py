"""binarize: white with probability byte / 255, which is exact at 0 and 255."""

import sys
import tracemalloc

import numpy as np
import pytest

from scratchvae.data import binarize, is_binary


def test_every_byte_is_white_as_often_as_it_says():
    images = np.broadcast_to(np.arange(256, dtype=np.uint8), (20_000, 256))
    white = binarize(images, np.random.default_rng(0)) == 255
    p = np.arange(256) / 255
    assert (np.abs(white.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / 20_000)).all()
    assert not white[:, 0].any() and white[:, 255].all()
    assert abs(white.mean() - 0.5) <= 5 * 0.5 / white.size**0.5  # no drift over all bytes


def test_one_byte_decides_each_pixel():
    """The draw below the pixel's byte, of 255 equally likely ones: the probability has no error."""
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (3, 5, 4), np.uint8)
    draws = np.random.default_rng(2).integers(0, 255, images.shape, np.uint8)
    drawn = binarize(images, np.random.default_rng(2))
    np.testing.assert_array_equal(drawn, np.where(draws < images, 255, 0))
    assert drawn.dtype == np.uint8


def test_binary_images_stay_as_they_are():
    images = np.random.default_rng(0).integers(0, 2, (4, 3, 3), np.uint8) * np.uint8(255)
    again = binarize(images, np.random.default_rng(1))
    np.testing.assert_array_equal(again, images)
    assert is_binary(images) and not np.shares_memory(again, images)


def test_it_is_drawn_anew_each_time_and_again_from_the_seed():
    images, rng = np.full((2, 9, 9), 100, np.uint8), np.random.default_rng(0)
    first, second = binarize(images, rng), binarize(images, rng)
    assert (first != second).any() and is_binary(first) and not is_binary(images)
    np.testing.assert_array_equal(first, binarize(images, np.random.default_rng(0)))


@pytest.mark.parametrize("shape", [(50, 4, 4), (3, 7, 100), (1000,)])
def test_large_arrays_are_drawn_in_parts(monkeypatch, shape):
    """Each as if it were all; an array of one part is drawn as it always was."""
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    whole = binarize(images, np.random.default_rng(1))
    module = sys.modules["scratchvae.data.batches"]  # the package has a function of this name
    monkeypatch.setattr(module, "PART", images.size)
    np.testing.assert_array_equal(binarize(images, np.random.default_rng(1)), whole)
    monkeypatch.setattr(module, "PART", 200)
    rng = np.random.default_rng(1)
    step = max(1, 200 // images[0].size)
    parts = [binarize(images[i : i + step], rng) for i in range(0, len(images), step)]
    drawn = binarize(images, np.random.default_rng(1))
    np.testing.assert_array_equal(drawn, np.concatenate(parts))
    assert is_binary(drawn) and not is_binary(images)
    drawn[-1] = 1
    assert not is_binary(drawn)


@pytest.mark.parametrize("function", ["binarize", "is_binary"])
def test_a_part_at_a_time_needs_memory(monkeypatch, function):
    """No more than two arrays of a part besides the result."""
    images = np.full((64, 1 << 12), 255, np.uint8)
    monkeypatch.setattr(sys.modules["scratchvae.data.batches"], "PART", 1 << 14)
    tracemalloc.start()
    try:
        if function == "binarize":
            binarize(images, np.random.default_rng(0))
        else:
            is_binary(images)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    result = images.nbytes if function == "binarize" else 0
    assert peak < result + 4 * (1 << 14) + (1 << 14)
