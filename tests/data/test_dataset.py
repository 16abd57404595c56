"""The digest of a data set."""

from dataclasses import replace

import numpy as np
import pytest

from scratchvae.data import Dataset, dataset


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
    ]
    assert len({variant.digest() for variant in variants}) == len(variants)


def test_name_labels_and_memory_do_not(data, tmp_path, monkeypatch):
    (tmp_path / "pixels").write_bytes(data.train_images.tobytes())
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=data.train_images.shape)
    strided = np.repeat(data.test_images, 2, axis=2)[:, :, ::2]
    digest = replace(data, name="images:moved").digest()
    monkeypatch.setattr(dataset, "ROWS", 4)
    assert Dataset("mnist", mapped, strided).digest() == digest
