"""The cache of drawn pictures: used if it is valid, replaced if not, never an obstacle."""

import os

import numpy as np
import pytest
from hostile import bounded

from scratchvae.data.dataset import drawn_dataset

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
        "made_with": (),
        "cache_dir": tmp_path / "dots",
    }

    def load(**other):
        options = usual | other
        data = drawn_dataset(draw=painter, rows=ROWS, **options)
        assert data.name == options["name"]
        for field, expected in PICTURES.items():
            np.testing.assert_array_equal(getattr(data, field), expected)

    return load


def test_pictures_are_drawn_once(load, painter, tmp_path):
    load()
    load()
    assert painter.calls == 1
    (path,) = (tmp_path / "dots").iterdir()
    assert path.name.startswith("dots-v1-seed0-20-10-") and path.suffix == ".npz"


@pytest.mark.parametrize(
    "other", [{"name": "lines"}, {"version": 2}, {"seed": 1}, {"made_with": ("1.0", ["a"])}]
)
def test_what_decides_about_the_pictures_is_in_the_name(load, painter, tmp_path, other):
    load()
    load(**other)
    assert painter.calls == 2
    assert len(list((tmp_path / "dots").iterdir())) == 2


def test_the_default_cache_is_the_users(load, cache):
    load(cache_dir=None)
    assert len(list((cache / "dots").glob("*.npz"))) == 1


def test_a_user_without_a_home_is_no_error(load, painter, monkeypatch):
    import pooch

    def homeless(_):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pooch, "os_cache", homeless)
    load(cache_dir=None)
    load(cache_dir=None)
    assert painter.calls == 2


def damage(path, how):
    content = path.read_bytes()
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("hello")
    elif how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        middle = content.index(PICTURES["train_images"].tobytes()) + 100
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    elif how == "field missing":
        np.savez(path, train_images=PICTURES["train_images"])
    elif how == "other dtype":
        np.savez(path, **{field: array.astype(np.float32) for field, array in PICTURES.items()})
    else:
        np.savez(path, **{field: array[1:] for field, array in PICTURES.items()})


@pytest.mark.parametrize(
    "how",
    ["empty", "text", "cut", "flipped", "field missing", "other dtype", "other shape"],
)
def test_a_damaged_cache_is_made_again(load, painter, tmp_path, how):
    load()
    (path,) = (tmp_path / "dots").iterdir()
    damage(path, how)
    load()
    assert painter.calls == 2
    assert list(path.parent.iterdir()) == [path]
    load()
    assert painter.calls == 2, "not repaired"


class Intruder:
    """Unpickling it creates a folder; a malicious pickle could do anything."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_cache_is_never_unpickled(load, tmp_path):
    load()
    (path,) = (tmp_path / "dots").iterdir()
    proof = tmp_path / "unpickled"
    intruder = np.array([Intruder(proof)], object)
    np.savez(path, **dict.fromkeys(PICTURES, intruder))
    load()
    assert not proof.exists()


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
