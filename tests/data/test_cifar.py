"""CIFAR-10: the batches for Python, read without unpickling, and the binary ones."""

import os
import pickle
import struct

import numpy as np
import pytest
from hostile import bounded, pipe, sparse

from scratchvae.data import cifar, load_cifar10
from scratchvae.data.sources import SOURCES

NAMES = list(SOURCES["cifar10"].files)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 5, 3, 32, 32), np.uint8)  # 6 batches of 5 images
LABELS = RNG.integers(0, 10, (6, 5)).astype("u1")


def python_2(images, labels):
    """A batch as Python 2's cPickle wrote it: byte strings of 8 bits, and NumPy's old names."""

    def text(value):
        data = value.encode() if isinstance(value, str) else value
        long = struct.pack("<I", len(data))
        return (b"T" + long if len(data) > 255 else b"U" + bytes([len(data)])) + data

    dtype = b"cnumpy\ndtype\n(" + text("u1") + b"K\x00K\x01tR(K\x03" + text("|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85" + text("b")
    array += b"tR(K\x01(K" + bytes([len(images)]) + b"M\x00\x0ct" + dtype + b"\x89"
    array += text(images.tobytes()) + b"tb"
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    names = b"](" + b"".join(text(f"{i}_s_{i:06}.png") for i in range(len(images))) + b"e"
    items = text("data") + array + text("labels") + numbers
    items += text("batch_label") + text("training batch 1 of 5") + text("filenames") + names
    return b"\x80\x02}(" + items + b"u."


def python_3(images, labels, keys=str, protocol=4):
    content = {"data": images.reshape(len(images), -1), "labels": labels.tolist()}
    return pickle.dumps({keys(key): value for key, value in content.items()}, protocol)


def binary(images, labels):
    return np.hstack([labels[:, None], images.reshape(len(images), -1)]).tobytes()


FORMS = {
    "python 2": python_2,
    "python 3": python_3,
    "python 3, protocol 2": lambda *a: python_3(*a, protocol=2),
    "keys of bytes": lambda *a: python_3(*a, keys=str.encode),
    "binary": binary,
}


def write(folder, form=binary, suffix=".bin"):
    folder.mkdir(parents=True, exist_ok=True)
    for name, images, labels in zip(NAMES, IMAGES, LABELS, strict=True):
        (folder / f"{name}{suffix}").write_bytes(form(images, labels))


@pytest.mark.parametrize("form", FORMS)
def test_reads_every_form_of_a_batch(tmp_path, form):
    write(tmp_path, FORMS[form], "" if "python" in form else ".bin")
    dataset = load_cifar10(tmp_path)
    np.testing.assert_array_equal(dataset.train_images, IMAGES[:5].reshape(25, 3, 32, 32))
    np.testing.assert_array_equal(dataset.test_images, IMAGES[5])
    np.testing.assert_array_equal(dataset.train_labels, LABELS[:5].reshape(25))
    np.testing.assert_array_equal(dataset.test_labels, LABELS[5])
    assert (dataset.name, dataset.classes[6]) == ("cifar10", "frog")


def test_the_old_form_is_one_that_python_reads():
    """So `python_2` above writes what the files of 2009 are."""
    batch = pickle.loads(python_2(IMAGES[0], LABELS[0]), encoding="latin-1")
    np.testing.assert_array_equal(batch["data"], IMAGES[0].reshape(5, -1))
    assert batch["labels"] == LABELS[0].tolist()


@pytest.mark.parametrize(
    ("layout", "suffix"),
    [
        ("", ""),
        ("cifar-10-batches-py", ""),
        ("cifar-10-batches-bin", ".bin"),
        ("cifar10/cifar-10-batches-py", ""),
        ("cifar10", ""),
    ],
)
def test_accepts_the_usual_folders(tmp_path, layout, suffix):
    write(tmp_path / layout, binary, suffix)
    assert len(load_cifar10(tmp_path).train_images) == 25
    assert len(load_cifar10(tmp_path / layout).train_images) == 25
    next((tmp_path / layout).glob("data_batch_3*")).unlink()
    with pytest.raises(
        FileNotFoundError, match=f"cifar10 is not in {tmp_path}: missing data_batch_3$"
    ):
        load_cifar10(tmp_path)


class Trap:
    def __reduce__(self):
        return os.abort, ()


GOOD = python_3(IMAGES[0], LABELS[0])
BAD = {
    "empty": b"",
    "cut": GOOD[:-9],
    "cut in the pixels": GOOD[:9000],
    "binary, cut": binary(IMAGES[0], LABELS[0])[:-1],
    "binary, label 10": binary(IMAGES[0], LABELS[0] * 0 + 10),
    "text": b"<html>not found</html>",
    "a trap": pickle.dumps({"data": Trap(), "labels": [1, 2]}),
    "no labels": pickle.dumps({"data": IMAGES[0]}),
    "a label too few": python_3(IMAGES[0], LABELS[0][:4]),
    "label 10": python_3(IMAGES[0], LABELS[0] * 0 + 10),
    "label 300": python_3(IMAGES[0], LABELS[0].astype(int) * 0 + 300),
    "CIFAR-100": python_3(IMAGES[0], LABELS[0]).replace(b"labels", b"coarse"),
    "a long string that is not there": b"\x80\x02T\xff\xff\xff\x7fx.",
    "many instructions": b"\x80\x02" + b"N0" * 1_000_000 + b".",
}


@pytest.mark.parametrize("name", BAD)
def test_other_files_are_refused_and_nothing_runs(tmp_path, name):
    path = tmp_path / "data_batch_1"
    path.write_bytes(BAD[name])
    with bounded(megabytes=50), pytest.raises(ValueError) as caught:
        cifar.read_batch(path)
    assert str(caught.value).startswith(f"{path}: expected a batch of CIFAR-10")
    assert "\n" not in str(caught.value)


def test_what_is_no_file_of_this_size_is_not_read(tmp_path):
    for path in (pipe(tmp_path / "pipe"), tmp_path, sparse(tmp_path / "large", 10**12, b"\x80")):
        with bounded(), pytest.raises(ValueError, match="expected a batch of CIFAR-10"):
            cifar.read_batch(path)
