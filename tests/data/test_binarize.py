"""binarize: white with probability byte / 255, which is exact at 0 and 255."""

import sys

import numpy as np
import pytest
from hostile import bounded

from scratchvae.data import binarize, is_binary


def test_one_byte_decides_each_pixel():
    """One of 255 equally likely draws: the probability is exact, and black and white stay."""
    images = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    draws = np.random.default_rng(2).integers(0, 255, images.shape, np.uint8)
    drawn = binarize(images, np.random.default_rng(2))
    np.testing.assert_array_equal(drawn, np.where(draws < images, 255, 0))
    assert drawn.dtype == np.uint8 and is_binary(drawn) and not is_binary(images)
    again = binarize(drawn, np.random.default_rng(3))
    np.testing.assert_array_equal(again, drawn)
    assert not np.shares_memory(again, drawn)


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


@pytest.mark.parametrize("function", [binarize, lambda images, rng: is_binary(images)])
def test_a_part_at_a_time_needs_memory(monkeypatch, function):
    """No more than two arrays of a part besides the result."""
    images = np.full((64, 1 << 16), 255, np.uint8)  # 4 MB
    monkeypatch.setattr(sys.modules["scratchvae.data.batches"], "PART", 1 << 18)
    with bounded(megabytes=5.25 if function is binarize else 1.25):
        function(images, np.random.default_rng(0))
