"""The split into training and test images: any folder of images, and CelebA with its list."""

import os

import numpy as np
import pytest
from hostile import bounded, sparse
from photographs import values, write_grey

from scratchvae.data.images import load_celeba, load_folder


@pytest.fixture
def load(tmp_path):
    """`load_folder` for the folder `photographs`, with a cache for this test only."""

    def load(**options):
        return load_folder(tmp_path / "photographs", 2, cache_dir=tmp_path / "cache", **options)

    return load


def write_many(folder, count):
    for i in range(count):
        write_grey(folder / f"{i:03}.png", i)


def test_finds_every_spelling_in_every_subfolder_in_order(tmp_path, load):
    names = ["B.JPG", "a.jpeg", "b/a.Png", "b/c/d.jpg", "b/c/é ü.PNG", "c.png"]
    for i, name in enumerate(names):
        write_grey(tmp_path / "photographs" / name, 10 * i)
    for name in ("notes.txt", "x.gif", "jpg", "._a.jpeg"):  # macOS leaves files like the last one
        (tmp_path / "photographs" / name).write_text("no image")
    (tmp_path / "photographs" / "folder.png").mkdir()
    (tmp_path / "photographs" / "round and round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "photographs" / "pipe.png")  # reading it would wait forever
    data = load(test_share=0.01)
    assert data.name == "images:photographs"
    assert data.train_labels is None and data.test_labels is None
    assert values(data.test_images) == [30]
    assert values(data.train_images) == [0, 10, 20, 40, 50]


@pytest.mark.parametrize(
    ("count", "share", "test"),
    [
        (40, 0.1, [5, 15, 25, 35]),
        (25, 0.1, [6, 18]),
        (6, 0.5, [1, 3, 5]),
        (3, 0.99, [0, 2]),
        (2, 0.5, [1]),
        (2, 0.001, [1]),
    ],
)
def test_test_images_are_spread_evenly(tmp_path, load, count, share, test):
    write_many(tmp_path / "photographs", count)
    data = load(test_share=share)
    assert values(data.test_images) == test
    assert values(data.train_images) == [i for i in range(count) if i not in test]


def test_images_are_mapped_and_cannot_be_changed(tmp_path, load):
    write_many(tmp_path / "photographs", 3)
    data = load()
    for images in (data.train_images, data.test_images):
        assert isinstance(images, np.memmap) and images.dtype == np.uint8
        assert images.shape[1:] == (3, 2, 2)
        with pytest.raises(ValueError, match="read-only"):
            images[:] = 0


@pytest.mark.parametrize("count", [0, 1])
def test_needs_two_images(tmp_path, load, count):
    (tmp_path / "photographs").mkdir()
    write_many(tmp_path / "photographs", count)
    with pytest.raises(ValueError) as caught:
        load()
    assert str(caught.value) == (
        f"{tmp_path / 'photographs'}: expected at least 2 images (.jpg, .jpeg, .png), one "
        f"for training and one for testing, found {count}"
    )


def test_no_folder(tmp_path, load):
    with pytest.raises(FileNotFoundError, match=f"there is no folder {tmp_path / 'photographs'}"):
        load()
    (tmp_path / "photographs").write_text("a file")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size: expected an int of at least 1, found 0"),
        ({"size": 64.0}, "size: expected an int of at least 1, found 64.0"),
        ({"size": True}, "size: expected an int of at least 1, found True"),
        ({"crop": -1}, "crop: expected an int of at least 1, found -1"),
        ({"test_share": 0}, "expected a test_share between 0 and 1, found 0"),
        ({"test_share": 1.0}, "expected a test_share between 0 and 1, found 1.0"),
    ],
)
def test_refuses(tmp_path, options, message):
    for load in (load_folder, load_celeba):
        if load is load_folder or "test_share" not in options:
            with pytest.raises(ValueError, match=f"^{message}$"):
                load(tmp_path, **options)


def test_a_subfolder_that_cannot_be_searched_is_not_passed_over(tmp_path, load, monkeypatch):
    write_many(tmp_path / "photographs", 3)
    (tmp_path / "photographs" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="locked"):
        load()


def test_links_to_files_are_followed_and_broken_ones_reported(tmp_path, load, capsys):
    write_many(tmp_path / "elsewhere", 3)
    (tmp_path / "photographs").mkdir()
    for i in range(4):
        (tmp_path / "photographs" / f"{i}.png").symlink_to(tmp_path / "elsewhere" / f"{i:03}.png")
    data = load()
    assert values(data.train_images) == [0, 1] and values(data.test_images) == [2]
    assert "Skipped 1 of 4 files: 3.png (No such file" in capsys.readouterr().err


def test_home_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_many(tmp_path / "photographs", 2)
    assert len(load_folder("~/photographs", 2, cache_dir="~/cache").train_images) == 1
    assert (tmp_path / "cache").is_dir()


LINES = ["1.png 0", "2.png 1", "3.png 2", "4.png 0"]


def write_celeba(folder, lines):
    for i in range(1, 5):
        write_grey(folder / "img_align_celeba" / f"{i}.png", i)
    (folder / "list_eval_partition.txt").write_bytes("\n".join(lines).encode() + b"\n")


@pytest.mark.parametrize("inner", ["", "celeba"])
def test_celeba_keeps_the_split_of_its_authors(tmp_path, inner):
    write_celeba(tmp_path / inner, LINES)
    data = load_celeba(tmp_path, 2, cache_dir=tmp_path / "cache")
    assert data.name == "celeba" and data.train_labels is data.test_labels is None
    assert values(data.train_images) == [1, 4] and values(data.test_images) == [3]


def test_celeba_with_another_split_is_decoded_anew(tmp_path):
    for part, train, test in ((0, [1, 2], [3]), (2, [1], [2, 3])):
        write_celeba(tmp_path, ["1.png 0", f"2.png {part}", "3.png 2"])
        for i in range(1, 5):
            os.utime(tmp_path / "img_align_celeba" / f"{i}.png", (1, 1))
        data = load_celeba(tmp_path, 2, cache_dir=tmp_path / "cache")
        assert values(data.train_images) == train and values(data.test_images) == test


def test_celeba_files_that_are_listed_but_absent(tmp_path, capsys):
    write_celeba(tmp_path, ["\ufeff" + LINES[0], *LINES[1:], "5.png 2", "6.png 0"])  # a BOM, too
    data = load_celeba(tmp_path, 2, cache_dir=tmp_path / "cache")
    assert values(data.train_images) == [1, 4] and values(data.test_images) == [3]
    assert capsys.readouterr().err.startswith(
        "Skipped 2 of 5 files: 6.png (No such file or directory), 5.png (No such file"
    )


@pytest.mark.parametrize("missing", ["img_align_celeba", "list_eval_partition.txt", "both"])
def test_celeba_says_what_must_lie_where(tmp_path, missing):
    write_celeba(tmp_path, LINES)
    for name in ("img_align_celeba", "list_eval_partition.txt"):
        if missing in (name, "both"):
            (tmp_path / name).rename(tmp_path / f"no {name}")
    with pytest.raises(FileNotFoundError) as caught:
        load_celeba(tmp_path)
    assert str(caught.value) == (
        f"celeba is not in {tmp_path}: expected the folder img_align_celeba/ (unpacked from "
        "img_align_celeba.zip) and the file list_eval_partition.txt, both there or both in "
        f"{tmp_path / 'celeba'}"
    )


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("5.png", "a file name and 0, 1 or 2"),
        ("5.png 0 0", "a file name and 0, 1 or 2"),
        ("", "a file name and 0, 1 or 2"),
        ("5.png 3", "a file name and 0, 1 or 2"),
        ("5.png -1", "a file name and 0, 1 or 2"),
        ("5.png,0", "a file name and 0, 1 or 2"),
        ("/etc/5.png 0", "a plain file name"),
        ("../5.png 0", "a plain file name"),
        (".. 0", "a plain file name"),
        ("a\\5.png 0", "a plain file name"),
        ("C:5.png 0", "a plain file name"),
        ("5\0.png 0", "a plain file name"),
        ("2.png 0", "every file once"),
    ],
)
def test_celeba_refuses_a_damaged_list(tmp_path, line, fault):
    write_celeba(tmp_path, [*LINES[:2], line, *LINES[2:]])
    with pytest.raises(ValueError) as caught:
        load_celeba(tmp_path)
    message = str(caught.value)
    assert message.startswith(
        f"{tmp_path / 'list_eval_partition.txt'}, line 3: expected {fault}"
    ) and message.endswith(f"found {line!r}")


def test_celeba_list_of_bytes_that_are_no_text(tmp_path):
    write_celeba(tmp_path, LINES)
    (tmp_path / "list_eval_partition.txt").write_bytes(b"1.png 0\n\xff.png 0\n")
    with pytest.raises(ValueError, match="line 2: expected a plain file name"):
        load_celeba(tmp_path)


def test_celeba_list_of_one_endless_line(tmp_path):
    write_celeba(tmp_path, LINES)
    for content in (b"", b"a" * 5000):
        sparse(tmp_path / "list_eval_partition.txt", 1 << 26, content)
        with bounded(), pytest.raises(ValueError, match=r"line 1: .*, found '.{80,330}'$"):
            load_celeba(tmp_path)
