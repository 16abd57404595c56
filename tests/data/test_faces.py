"""The data set of painted faces: varied, and no face twice."""

import os

import numpy as np
import pytest

from scratchvae.data.faces import load_faces


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
