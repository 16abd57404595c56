"""Drawn data sets: the same every time; the cache is used if valid, and never an obstacle."""

import os
import sys

import numpy as np
import pytest
from hostile import bounded

from scratchvae.data import load_faces, load_glyphs
from scratchvae.data.dataset import drawn_dataset


@pytest.fixture(params=[load_glyphs, load_faces])
def draw(request, tmp_path):
    """A function that loads some of the glyphs or faces, with a cache for this test."""
    usual = {"train_count": 20, "test_count": 20, "cache_dir": tmp_path / "cache"}
    return lambda **other: request.param(**(usual | other))


def module_of(draw):
    return sys.modules[f"scratchvae.data.{draw(train_count=0, test_count=0).name}"]


def images(dataset):
    return np.concatenate([dataset.train_images, dataset.test_images]).tobytes()


def test_same_seed_same_pictures_and_another_seed_or_part_others(draw, tmp_path):
    first = draw(seed=5)
    assert images(first) == images(draw(seed=5, cache_dir=tmp_path / "another"))
    assert images(first) != images(draw(seed=6))
    assert not np.array_equal(first.train_images, first.test_images)


def test_neither_part_depends_on_the_size_of_the_other(draw):
    train, test, both = draw(test_count=0), draw(train_count=0), draw()
    assert len(train.test_images) == len(test.train_images) == 0
    assert images(train) + images(test) == images(both)


def test_the_cache_is_used_unless_something_else_is_asked_for(draw, monkeypatch):
    first, module = draw(), module_of(draw)
    monkeypatch.setattr(module, "draw", lambda *_: pytest.fail("drawn again"))
    assert images(draw()) == images(first)
    for other in ({"train_count": 5}, {"test_count": 5}, {"seed": 1}):
        with pytest.raises(pytest.fail.Exception, match="drawn again"):
            draw(**other)
    for name, value in (("VERSION", 99), ("made_with", lambda: {"NumPy": "0.0"})):
        with monkeypatch.context() as patch, pytest.raises(pytest.fail.Exception):
            patch.setattr(module, name, value)
            draw()


def test_refuses_negative_counts(draw):
    with pytest.raises(ValueError, match="counts >= 0, found 5 and -1"):
        draw(train_count=5, test_count=-1)


COUNTS = {"train": 20, "test": 10}
ROWS = {"images": (8, 8), "labels": ()}
PICTURES = {
    f"{part}_{key}": np.random.default_rng(7).integers(0, 256, (count, *row), dtype=np.uint8)
    for part, count in COUNTS.items()
    for key, row in ROWS.items()
}


class Painter:
    """Draws, and counts how often it has drawn the training set."""

    def __init__(self):
        self.calls = 0

    def __call__(self, count, rng):
        part = "train" if count == COUNTS["train"] else "test"
        self.calls += part == "train"
        return {key: PICTURES[f"{part}_{key}"] for key in ROWS}


@pytest.fixture
def painter():
    return Painter()


@pytest.fixture
def load(tmp_path, painter):
    """Return a function that loads the pictures, with other arguments if a test passes them."""
    usual = {
        "name": "dots",
        "counts": tuple(COUNTS.values()),
        "seed": 0,
        "version": 1,
        "made_with": {},
        "cache_dir": tmp_path / "dots",
    }

    def load(**other):
        options = usual | other
        data = drawn_dataset(draw=painter, rows=ROWS, **options)
        assert data.name == options["name"]
        for field, expected in PICTURES.items():
            np.testing.assert_array_equal(getattr(data, field), expected)

    return load


@pytest.mark.parametrize(
    "other", [{"name": "lines"}, {"version": 2}, {"seed": 1}, {"made_with": {"a": "1.0"}}]
)
def test_pictures_are_drawn_once_and_what_decides_about_them_is_in_the_name(
    load, painter, tmp_path, other
):
    load()
    load()
    assert painter.calls == 1
    (path,) = (tmp_path / "dots").iterdir()
    assert path.name.startswith("dots-v1-seed0-20-10-") and path.suffix == ".npz"
    load(**other)
    assert painter.calls == 2
    assert len(list((tmp_path / "dots").iterdir())) == 2


def test_the_default_cache_is_the_users(load, cache):
    load(cache_dir=None)
    assert len(list((cache / "dots").glob("*.npz"))) == 1


def flipped(content):
    middle = content.index(PICTURES["train_images"].tobytes()) + 100
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


DAMAGES = {
    "empty": lambda content: b"",
    "text": lambda content: b"hello",
    "cut": lambda content: content[: len(content) // 2],
    "flipped": flipped,
    "field missing": {"train_images": PICTURES["train_images"]},
    "other dtype": {field: array.astype(np.float32) for field, array in PICTURES.items()},
    "other shape": {field: array[1:] for field, array in PICTURES.items()},
}


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_cache_is_made_again(load, painter, tmp_path, how):
    load()
    (path,) = (tmp_path / "dots").iterdir()
    if callable(damage := DAMAGES[how]):
        path.write_bytes(damage(path.read_bytes()))
    else:
        np.savez(path, **damage)
    load()
    assert painter.calls == 2
    assert list(path.parent.iterdir()) == [path]
    load()
    assert painter.calls == 2, "not repaired"


class Intruder:
    def __reduce__(self):
        return os.abort, ()


def test_a_cache_is_never_unpickled(load, tmp_path):
    load()
    (path,) = (tmp_path / "dots").iterdir()
    np.savez(path, **dict.fromkeys(PICTURES, np.array([Intruder()], object)))
    load()


@pytest.mark.parametrize("failing", ["mkdir", "savez", "replace"])
def test_a_cache_that_cannot_be_written_is_no_error(load, tmp_path, monkeypatch, failing):
    def refuse(*_, **__):
        raise OSError(28, "No space left on device")

    folder = tmp_path / "dots"
    if failing == "mkdir":
        folder.write_text("a file where the folder should be")
    elif failing == "savez":
        monkeypatch.setattr(np, "savez", refuse)
    else:
        monkeypatch.setattr(os, "replace", refuse)
    load()
    assert not folder.is_dir() or list(folder.iterdir()) == []


@pytest.mark.parametrize("damaged", ["train_images", "test_labels"])
def test_what_unpacks_to_more_than_was_drawn_is_not_unpacked(load, painter, tmp_path, damaged):
    load()
    (path,) = (tmp_path / "dots").iterdir()
    np.savez_compressed(path, **(PICTURES | {damaged: np.zeros(50_000_000, np.uint8)}))
    with bounded():
        load()
    assert painter.calls == 2
