"""Finding MNIST's files on this machine, and checking that they fit together."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from scratchvae.data import DataNotFound, find_files, load_mnist, read_idx, sources
from scratchvae.data.sources import FILES

REAL_MNIST = Path(__file__).resolve().parents[3] / "shared/data/mnist"
FIELDS = list(FILES)


def same(dataset, arrays):
    return all(np.array_equal(getattr(dataset, field), arrays[field]) for field in FIELDS)


@pytest.mark.parametrize(
    "spell",
    [
        lambda name: name,
        lambda name: name.removesuffix(".gz"),
        lambda name: name.replace("-idx", ".idx"),
        lambda name: name.replace("-idx", ".idx").removesuffix(".gz"),
    ],
    ids=["gz", "plain", "dotted gz", "dotted plain"],
)
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_accepts_the_usual_spellings(tmp_path, write_mnist, spell, inner):
    spelled = {field: spell(name) for field, name in FILES.items()}
    arrays = write_mnist(tmp_path / inner, spelled)
    dataset = load_mnist("mnist", str(tmp_path))
    assert dataset.name == "mnist" and same(dataset, arrays)
    assert find_files("mnist", tmp_path) == {
        field: tmp_path / inner / name for field, name in spelled.items()
    }


def test_a_named_folder_is_a_promise(tmp_path, cache, write_mnist, monkeypatch):
    write_mnist(cache / "mnist")
    write_mnist(tmp_path / "elsewhere")
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "elsewhere"))
    folder = tmp_path / "named"

    with pytest.raises(FileNotFoundError) as caught:
        load_mnist("mnist", folder)
    assert not isinstance(caught.value, DataNotFound)
    assert str(caught.value) == f"mnist is not in {folder}: there is no such folder"

    folder.mkdir()
    with pytest.raises(FileNotFoundError, match=r"the four files are missing .train-images"):
        load_mnist("mnist", folder)

    write_mnist(folder, {"test_labels": None, "train_images": None})
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist("mnist", folder)
    assert str(caught.value) == (
        f"mnist is not in {folder}: missing {FILES['train_images']}, {FILES['test_labels']}"
    )


def test_the_inner_folder_wins_and_sets_are_never_mixed(tmp_path, write_mnist):
    outer = write_mnist(tmp_path, seed=1)
    write_mnist(tmp_path / "mnist", {"test_labels": None}, seed=2)
    assert same(load_mnist("mnist", tmp_path), outer)
    inner = write_mnist(tmp_path / "mnist", seed=2)
    assert same(load_mnist("mnist", tmp_path), inner)


def test_a_folder_named_after_the_other_set_is_not_taken(tmp_path, write_mnist):
    write_mnist(tmp_path / "mnist")
    with pytest.raises(FileNotFoundError):
        load_mnist("fashion-mnist", tmp_path / "mnist")
    assert load_mnist("mnist", tmp_path / "mnist").name == "mnist"


def test_home_is_understood(tmp_path, write_mnist, monkeypatch):
    arrays = write_mnist(tmp_path / "digits")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    assert same(load_mnist("mnist", "~/digits"), arrays)


def test_environment_before_cache_and_cache_before_internet(
    tmp_path, cache, write_mnist, monkeypatch
):
    monkeypatch.setattr(sources, "fetch", lambda *_: pytest.fail("tried to download"))
    cached = write_mnist(cache / "mnist", seed=1)
    assert same(load_mnist("mnist"), cached)
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "nothing here"))
    assert same(load_mnist("mnist"), cached)
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path / "data"))
    named = write_mnist(tmp_path / "data" / "mnist", seed=2)
    assert same(load_mnist("mnist"), named)


def test_refuses_other_names():
    with pytest.raises(ValueError, match="'cifar'; choose from mnist, fashion-mnist"):
        find_files("cifar")


@pytest.mark.parametrize(
    ("arrays", "field", "message"),
    [
        (
            {"train_images": np.zeros((7, 28, 27))},
            "train_images",
            "expected images of 28 x 28, found 28 x 27",
        ),
        (
            {"test_labels": np.zeros(4)},
            "test_labels",
            f"expected 3 labels, one for each image in {FILES['test_images']}, found 4",
        ),
        (
            {"train_labels": np.full(7, 10)},
            "train_labels",
            "expected labels from 0 to 9, found 10",
        ),
        (
            {"train_labels": np.zeros((7, 1))},
            "train_labels",
            "wrong IDX rank: expected 1 dimensions, found 2",
        ),
        (
            {"test_images": np.zeros(7)},
            "test_images",
            "wrong IDX rank: expected 3 dimensions, found 1",
        ),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, write_mnist, arrays, field, message):
    write_mnist(tmp_path, **arrays)
    with pytest.raises(ValueError) as caught:
        load_mnist("mnist", tmp_path)
    assert str(caught.value) == f"{tmp_path / FILES[field]}: {message}"


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"no MNIST in {REAL_MNIST}")
def test_real_mnist():
    dataset = load_mnist("mnist", REAL_MNIST)
    assert dataset.train_images.shape == (60_000, 28, 28)
    assert dataset.test_images.shape == (10_000, 28, 28)
    assert dataset.train_labels.shape == (60_000,) and dataset.test_labels.shape == (10_000,)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"no MNIST in {REAL_MNIST}")
@pytest.mark.parametrize(
    ("field", "digest"),
    [
        (
            "train_images",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        ("test_images", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
    ],
)
def test_real_mnist_is_read_byte_for_byte(field, digest, idx_bytes):
    images = read_idx(REAL_MNIST / FILES[field])
    assert hashlib.sha256(idx_bytes(images)).hexdigest() == digest
