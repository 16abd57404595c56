"""Data sets: digest, selections across a list, sizes and colours, doubts."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from scratchvae.data import Dataset, dataset, spread
from scratchvae.data.dataset import brightest_and_flat, doubts, fit
from scratchvae.data.decode import render
from scratchvae.data.options import image_options


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    train, test = (rng.integers(0, 256, (n, 5, 4), "uint8") for n in (9, 3))
    return Dataset("mnist", train, test, np.zeros(9, "uint8"), np.zeros(3, "uint8"))


@pytest.mark.parametrize("field", ["train_images", "test_images"])
@pytest.mark.parametrize("where", [0, -1])
def test_one_byte_changes_the_digest(data, field, where, monkeypatch):
    monkeypatch.setattr(dataset, "ROWS", 2)
    before = data.digest()
    getattr(data, field).flat[where] ^= 1
    assert data.digest() != before
    getattr(data, field).flat[where] ^= 1
    assert data.digest() == before and len(before) == 64


def test_shape_and_split_change_the_digest(data):
    both = np.concatenate([data.train_images, data.test_images])
    variants = [
        data,
        replace(data, train_images=data.train_images.reshape(9, 4, 5)),
        replace(data, train_images=both[:8], test_images=both[8:]),
        replace(data, train_images=data.train_images.view("int8")),
        replace(data, validation_images=both[:1]),
    ]
    assert len({variant.digest() for variant in variants}) == len(variants)


def test_name_labels_and_memory_do_not(data, tmp_path, monkeypatch):
    (tmp_path / "pixels").write_bytes(data.train_images.tobytes())
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=data.train_images.shape)
    strided = np.repeat(data.test_images, 2, axis=2)[:, :, ::2]
    digest = replace(data, name="images:moved").digest()
    monkeypatch.setattr(dataset, "ROWS", 4)
    assert Dataset("mnist", mapped, strided).digest() == digest


@pytest.mark.parametrize(("count", "total"), [(0, 5), (1, 1), (3, 10), (10, 10), (7, 3), (5, 0)])
def test_spread_takes_one_of_each_stretch(count, total):
    chosen = spread(count, total).tolist()
    some = min(count, total)
    assert [i * some // total for i in chosen] == list(range(some))
    assert chosen == spread(count, total).tolist()


def test_spread_meets_every_phase_of_a_period():
    """Every tenth image of a film of ten frames would always be the same frame."""
    assert len({*(spread(100, 1000) % 10).tolist()}) == 10


def sample(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return Dataset("sample", images, images[:2], validation_images=images[1:2])


@pytest.mark.parametrize("shape", [(4, 6, 8), (4, 1, 6, 8), (4, 3, 6, 8)])
@pytest.mark.parametrize("size", ["native", (6, 8), (12, 16), (3, 5)])
@pytest.mark.parametrize("grey", [False, True])
def test_fit_gives_size_and_colours(shape, size, grey):
    data = sample(shape)
    fitted = fit(data, image_options(size, grey))
    channels = shape[1] if len(shape) == 4 and not grey else 1
    height, width = (6, 8) if size == "native" else size
    for part in ("train_images", "test_images", "validation_images"):
        images, before = getattr(fitted, part), getattr(data, part)
        assert images.reshape(len(before), -1, *images.shape[-2:]).shape == (
            *(len(before), channels, height, width),
        )
        for image, old in zip(images, before, strict=True):
            pixels = old.reshape(-1, 6, 8).transpose(1, 2, 0).squeeze()
            options = image_options((height, width), grey=channels == 1)
            expected = render(Image.fromarray(pixels), options)
            np.testing.assert_array_equal(image.reshape(expected.shape), expected)


def test_a_crop_without_a_size_is_the_size():
    data = sample((4, 6, 8))
    fitted = fit(data, image_options(crop=4)).train_images
    np.testing.assert_array_equal(fitted, data.train_images[:, None, 1:5, 2:6])


def test_without_options_nothing_is_copied():
    data = sample((4, 6, 8))
    assert fit(data, image_options()).train_images is data.train_images
    assert fit(data, image_options((6, 8), grey=True)).train_images is data.train_images


def test_doubts():
    dark, bright = np.full((3, 2, 2), 16, np.uint8), np.full((3, 2, 2), 17, np.uint8)
    dark[:, 0] = bright[:, 0] = 0
    assert brightest_and_flat(dark) == (16, 0)
    (said,) = doubts(*brightest_and_flat(dark), 3)
    assert "the brightest pixel of all 3 images is 16 of 255" in said
    assert "--value-range 0,1" in said and doubts(*brightest_and_flat(bright), 3) == []
    bright[:2] = 99
    assert "2 of 3 images have one single colour" in doubts(17, 2, 3)[0]
