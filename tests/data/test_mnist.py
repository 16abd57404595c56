"""Finding MNIST's files on this machine, and checking that they fit together."""

import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from idx_files import idx_bytes

from scratchvae.data import DataNotFound, find_files, load_mnist, mnist, sources
from scratchvae.data.sources import FILES, SOURCES

REAL_MNIST = Path(__file__).resolve().parents[3] / "shared/data/mnist"
FIELDS = list(FILES)


def same(dataset, arrays):
    return all(np.array_equal(getattr(dataset, field), arrays[field]) for field in FIELDS)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("idx", ["-idx", ".idx"])
@pytest.mark.parametrize("inner", ["", "mnist"])
def test_accepts_the_usual_spellings(tmp_path, write_mnist, suffix, idx, inner):
    spelled = {f: n.removesuffix(".gz").replace("-idx", idx) + suffix for f, n in FILES.items()}
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
    with pytest.raises(FileNotFoundError, match=", ".join(FILES.values())):
        load_mnist("mnist", folder)
    with pytest.raises(ValueError, match="'cifar'; choose from mnist, fashion-mnist"):
        find_files("cifar", folder)

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


LAYOUTS = {
    "mnist": ["MNIST/raw", "mnist/raw"],
    "fashion-mnist": ["", "fashion-mnist", "FashionMNIST/raw"],
    "kmnist": ["", "kmnist", "KMNIST", "KMNIST/raw"],
    "emnist-letters": ["", "gzip", "EMNIST/raw", "emnist", "emnist/gzip"],
    "emnist-balanced": ["EMNIST/gzip"],
}


@pytest.mark.parametrize("inside", [0, 1, 2], ids=lambda depth: f"{depth} folders named")
@pytest.mark.parametrize(
    ("name", "layout"), [(name, layout) for name in LAYOUTS for layout in LAYOUTS[name]]
)
def test_accepts_the_usual_folders(tmp_path, write_mnist, name, layout, inside):
    """Any of the folders on the way to the files may be given."""
    arrays = write_mnist(tmp_path / layout, SOURCES[name].files)
    dataset = load_mnist(name, tmp_path.joinpath(*Path(layout).parts[:inside]))
    if name.startswith("emnist"):
        arrays |= {f: arrays[f].transpose(0, 2, 1) for f in ("train_images", "test_images")}
    assert dataset.name == name and same(dataset, arrays)
    assert dataset.train_images.flags.c_contiguous


def test_accepts_a_folder_for_each_file_as_on_kaggle(tmp_path, write_mnist):
    names = {field: name.removesuffix(".gz") for field, name in FILES.items()}
    for field, name in names.items():
        arrays = write_mnist(tmp_path / name, dict.fromkeys(FILES) | {field: name})
    assert same(load_mnist("mnist", tmp_path), arrays)


@pytest.mark.parametrize("folder", ["mnist", "MNIST", "MNIST/raw", "kmnist", "FashionMNIST/raw"])
def test_a_folder_of_another_set_is_not_taken(tmp_path, write_mnist, folder):
    write_mnist(tmp_path / folder)
    others = {"fashion-mnist", "kmnist", "mnist"} - {
        name for name in SOURCES if folder.split("/")[0] in SOURCES[name].folders
    }
    for other in others:
        for root in (tmp_path, tmp_path / folder, (tmp_path / folder).parent):
            with pytest.raises(FileNotFoundError, match=FILES["train_images"]) as caught:
                load_mnist(other, root)
            named = root != tmp_path
            assert str(caught.value).endswith("the name of another data set") == named


@pytest.mark.parametrize("classes", [26, 47, 256])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "emnist-letters", "emnist-byclass"])
def test_any_number_of_classes(tmp_path, write_mnist, name, classes):
    """The classes have names if there is one for each label."""
    write_mnist(tmp_path, SOURCES[name].files, train_labels=np.full(7, classes - 1))
    dataset = load_mnist(name, tmp_path)
    assert dataset.train_labels.tolist() == [classes - 1] * 7
    assert dataset.classes == (
        SOURCES[name].classes if classes <= len(SOURCES[name].classes or ()) else None
    )


def test_labels_may_be_missing_but_not_half_of_them(tmp_path, write_mnist):
    arrays = write_mnist(tmp_path, {"train_labels": None, "test_labels": None})
    dataset = load_mnist("mnist", tmp_path)
    assert dataset.train_labels is dataset.test_labels is None
    assert np.array_equal(dataset.train_images, arrays["train_images"])
    write_mnist(tmp_path, {"test_labels": None})
    with pytest.raises(FileNotFoundError, match=f": missing {FILES['test_labels']}$"):
        load_mnist("mnist", tmp_path)


@pytest.mark.parametrize("field", ["train_labels", "test_labels", "train_images", "test_images"])
@pytest.mark.parametrize("form", ["packed", "unpacked", "packed again"])
def test_files_of_another_set_are_refused(tmp_path, write_mnist, monkeypatch, form, field):
    """In every form; images are hashed if there are no labels, which are smaller."""
    unlabelled = {"train_labels": None, "test_labels": None} if field.endswith("images") else {}
    arrays = write_mnist(tmp_path, unlabelled)
    content = idx_bytes(arrays[field])
    known = hashlib.md5(content).hexdigest()
    monkeypatch.setitem(mnist.OWNERS, known, "kmnist")
    path = tmp_path / FILES[field]
    if form == "unpacked":
        path.unlink()
        path = path.with_suffix("")
        path.write_bytes(content)
    elif form == "packed again":
        path.write_bytes(gzip.compress(content, 1, mtime=5))
    with pytest.raises(ValueError) as caught:
        load_mnist("mnist", tmp_path)
    assert str(caught.value) == f"{path}: expected a file of mnist, found one of kmnist"
    monkeypatch.setitem(mnist.OWNERS, known, "mnist")
    load_mnist("mnist", tmp_path)


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        ("train_images", (7, 28, 27), "expected images of 28 x 28, found 28 x 27"),
        (
            "test_labels",
            4,
            f"expected 3 labels, one for each image in {FILES['test_images']}, found 4",
        ),
        ("train_labels", (7, 1), "wrong IDX rank: expected 1 dimensions, found 2"),
        ("test_images", 7, "wrong IDX rank: expected 3 dimensions, found 1"),
    ],
)
def test_files_that_do_not_fit_together_are_refused(tmp_path, write_mnist, field, shape, message):
    write_mnist(tmp_path, **{field: np.zeros(shape)})
    with pytest.raises(ValueError) as caught:
        load_mnist("mnist", tmp_path)
    assert str(caught.value) == f"{tmp_path / FILES[field]}: {message}"


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"no MNIST in {REAL_MNIST}")
def test_real_mnist_is_read_byte_for_byte():
    dataset = load_mnist("mnist", REAL_MNIST)
    assert dataset.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    for field, array in vars(dataset).items():
        if field in FIELDS:
            known = SOURCES["mnist"].md5[FILES[field]]
            assert hashlib.md5(idx_bytes(array)).hexdigest() == known


@pytest.mark.skipif(not REAL_MNIST.is_dir(), reason=f"no MNIST in {REAL_MNIST}")
@pytest.mark.parametrize("labels", [False, True])
def test_real_mnist_is_not_another_set(tmp_path, labels):
    for field, file in FILES.items():
        if labels or field.endswith("images"):
            (tmp_path / file).symlink_to(REAL_MNIST / file)
    with pytest.raises(ValueError, match="expected a file of kmnist, found one of mnist"):
        load_mnist("kmnist", tmp_path)
