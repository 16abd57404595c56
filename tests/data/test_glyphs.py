"""The drawn digits: always the same, legible, inside the frame, in any state of the cache."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scratchvae.data import glyphs, load_glyphs


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The set as users get it: 10,000 + 2,000."""
    return load_glyphs(cache_dir=tmp_path_factory.mktemp("glyphs"))


def test_shapes_and_labels(full):
    assert full.name == "glyphs"
    for part, count in (("train", 10_000), ("test", 2_000)):
        images, labels = getattr(full, f"{part}_images"), getattr(full, f"{part}_labels")
        assert images.shape == (count, 28, 28) and images.dtype == np.uint8
        assert labels.shape == (count,) and labels.dtype == np.uint8
        assert np.bincount(labels).tolist() == [count // 10] * 10
        assert len(set(labels[:10].tolist())) > 3  # in random order


def test_digits_are_of_mnists_size_and_touch_no_edge(full):
    images = np.concatenate([full.train_images, full.test_images])
    edge = np.concatenate([images[:, [0, -1]].ravel(), images[:, :, [0, -1]].ravel()])
    assert edge.max() == 0
    ink = images > 127
    heights = ink.any(axis=2).sum(axis=1)
    widths = ink.any(axis=1).sum(axis=1)
    longest = np.maximum(heights, widths)
    assert longest.min() >= 12 and longest.max() <= 26
    assert 17 <= longest.mean() <= 21
    # Centred on average: the mean position of all ink is the middle of the frame.
    mass = images.sum(axis=0, dtype=np.float64)
    middle = np.array([mass.sum(axis=1) @ np.arange(28), mass.sum(axis=0) @ np.arange(28)])
    np.testing.assert_allclose(middle / mass.sum(), 13.5, atol=0.5)


def test_digits_are_white_on_black_with_grey_edges(full):
    images = full.train_images
    assert (images.max(axis=(1, 2)) > 200).all()
    assert 0.10 < images.mean() / 255 < 0.20  # MNIST: 0.13
    grey = (images > 20) & (images < 235)
    assert 0.05 < grey.mean() < 0.2


def test_digits_are_varied_and_can_be_told_apart(full):
    assert len(np.unique(full.train_images.reshape(10_000, -1), axis=0)) > 9_990
    # Labels belong to their pictures, and the digits are legible: the nearest of 2,000 training
    # pictures almost always has the right label; by chance it would in 10 % of the cases.
    train = full.train_images[:2000].reshape(2000, -1).astype(np.float32) / 255
    test = full.test_images[:500].reshape(500, -1).astype(np.float32) / 255
    distance = (train**2).sum(axis=1) - 2 * test @ train.T
    guess = full.train_labels[distance.argmin(axis=1)]
    assert (guess == full.test_labels[:500]).mean() > 0.9


def test_each_label_names_the_digit_that_is_drawn(full):
    # The mean picture of a class is most similar to its own digit, upright, in the same fonts.
    likeness = np.empty((10, 10))
    for digit in range(10):
        upright = [
            glyphs._warp(glyphs._master(font, str(digit), 1), np.eye(2), np.zeros(2))
            for font in glyphs.find_fonts()
        ]
        template = np.mean(upright, axis=0).ravel()
        for label in range(10):
            mean = full.train_images[full.train_labels == label].mean(axis=0).ravel()
            likeness[label, digit] = np.corrcoef(mean, template)[0, 1]
    assert likeness.argmax(axis=1).tolist() == list(range(10))


def test_no_test_picture_is_a_training_picture(full):
    train = {image.tobytes() for image in full.train_images}
    assert not any(image.tobytes() in train for image in full.test_images)


def test_neither_hash_order_nor_matplotlibs_backend_plays_a_part():
    """An invalid backend: matplotlib, which is not imported, would refuse to start."""
    code = (
        "import hashlib, os, sys, scratchvae.data as d\n"
        "g = d.load_glyphs(train_count=30, test_count=5, cache_dir=os.devnull)\n"
        "assert 'matplotlib' not in sys.modules and d.made_with('glyphs')['matplotlib']\n"
        "print(hashlib.sha256(g.train_images.tobytes() + g.test_images.tobytes()).hexdigest())"
    )
    variables = {"PYTHONPATH": str(Path(glyphs.__file__).parents[2]), "MPLBACKEND": "Qt4Agg"}
    digests = {
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | variables | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1


@pytest.mark.parametrize("size", [(80, 80), (30, 80), (80, 12)])
def test_a_warp_never_leaves_the_frame(size):
    master = Image.new("L", size, 255)
    for matrix in (np.eye(2) * 3, np.array([[1.0, -2.0], [0.5, 1.0]]), np.diag([0.8, 1.6])):
        for shift in ([0.0, 0.0], [500.0, -500.0], [-30.0, 30.0]):
            image = glyphs._warp(master, matrix, np.array(shift))
            assert image[[0, -1]].max() == image[:, [0, -1]].max() == 0
            assert image.max() > 200


def test_every_listed_font_is_there_and_draws_ten_different_digits():
    fonts = glyphs.find_fonts()
    assert [font.name for font in fonts] == list(glyphs.FONTS)
    for font in fonts:
        masters = {glyphs._master(font, digit, 0).tobytes() for digit in "0123456789"}
        assert len(masters) == 10


def test_missing_fonts_and_missing_matplotlib_are_told(monkeypatch):
    before = glyphs.made_with()
    monkeypatch.setattr(glyphs, "FONTS", {"DejaVuSans.ttf": (0,)})
    assert glyphs.made_with()["fonts"] != before["fonts"]
    monkeypatch.setattr(glyphs, "FONTS", {"NoSuchFont.ttf": (0,)})
    with pytest.raises(FileNotFoundError, match=r"expected DejaVu, .* found none"):
        glyphs.find_fonts()
    monkeypatch.setattr(glyphs, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match="install matplotlib"):
        glyphs.find_fonts()
