"""The data set of painted faces: the same each time, no face twice, kept in the cache."""

import os

import numpy as np
import pytest

from scratchvae.data import faces
from scratchvae.data.faces import load_faces


def same(a, b):
    return np.array_equal(a.train_images, b.train_images) and np.array_equal(
        a.test_images, b.test_images
    )


@pytest.fixture(scope="module")
def few():
    return load_faces(train_count=300, test_count=100, cache_dir=os.devnull)


def test_shapes_and_no_labels(few):
    assert few.name == "faces"
    for images, count in ((few.train_images, 300), (few.test_images, 100)):
        assert images.shape == (count, 3, 64, 64) and images.dtype == np.uint8
    assert few.train_labels is None and few.test_labels is None


def test_pictures_are_varied_and_use_the_range_of_a_byte(few):
    images = few.train_images
    assert images.std(axis=0).mean() > 40  # each pixel, over the faces
    assert images.min() < 5 and images.max() > 250
    assert 90 < images.mean() < 140
    assert (np.ptp(images, axis=(1, 2, 3)) > 150).all()  # light and shade in every picture
    colourful = np.ptp(images.astype(int), axis=1).mean(axis=(1, 2))
    assert (colourful > 8).all()


def test_no_test_picture_is_a_training_picture(few):
    everyone = np.concatenate([few.train_images, few.test_images])
    assert len({image.tobytes() for image in everyone}) == 400
    # The two sets also differ if they have equal sizes; with one generator they would be the same.
    equal = load_faces(train_count=5, test_count=5, cache_dir=os.devnull)
    assert not np.array_equal(equal.train_images, equal.test_images)


def test_same_seed_same_pictures_other_seed_other_pictures():
    small = {"train_count": 5, "test_count": 3, "cache_dir": os.devnull}
    assert same(load_faces(seed=5, **small), load_faces(seed=5, **small))
    assert not same(load_faces(seed=5, **small), load_faces(seed=6, **small))


def test_neither_part_depends_on_the_size_of_the_other():
    train = load_faces(train_count=6, test_count=0, cache_dir=os.devnull)
    test = load_faces(train_count=0, test_count=4, cache_dir=os.devnull)
    both = load_faces(train_count=6, test_count=4, cache_dir=os.devnull)
    assert train.test_images.shape == test.train_images.shape == (0, 3, 64, 64)
    np.testing.assert_array_equal(train.train_images, both.train_images)
    np.testing.assert_array_equal(test.test_images, both.test_images)


@pytest.mark.parametrize("part", ["train_count", "test_count"])
def test_the_cache_is_used_and_holds_the_same(tmp_path, monkeypatch, part):
    counts = {"train_count": 4, "test_count": 4, "cache_dir": tmp_path}
    first = load_faces(**counts)
    monkeypatch.setattr(faces, "draw", lambda _: pytest.fail("drawn again"))
    assert same(load_faces(**counts), first)
    for other in ({part: 5}, {"seed": 1}):
        with pytest.raises(pytest.fail.Exception, match="drawn again"):
            load_faces(**(counts | other))
    for made_with, value in ((faces, "VERSION"), (np, "__version__")):
        with monkeypatch.context() as patch, pytest.raises(pytest.fail.Exception):
            patch.setattr(made_with, value, "another")
            load_faces(**counts)


def test_the_default_cache_is_the_users(cache):
    load_faces(train_count=2, test_count=1)
    load_faces(train_count=1, test_count=2)
    assert len(list((cache / "faces").glob("*.npz"))) == 2


def test_refuses_negative_counts():
    with pytest.raises(ValueError, match="counts >= 0, found 5 and -1"):
        load_faces(train_count=5, test_count=-1)
