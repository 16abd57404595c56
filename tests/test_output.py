"""Files that appear complete or not at all, JSON of any numbers, and the lock."""

import errno
import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from hostile import pipe

from scratchvae.output import (
    lock,
    remove_left_behind,
    table,
    to_json,
    whole_file,
    whole_folder,
    write_atomically,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def no_space(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_link_in_the_place_of_the_temporary_file_is_not_followed(tmp_path):
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / f".file.{os.getpid()}.tmp").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "precious").read_bytes() == b"precious"


def test_a_pipe_is_not_replaced(tmp_path):
    """Neither is a device, for which a pipe stands here."""
    path = pipe(tmp_path / "pipe")
    with pytest.raises(OSError, match="is not a regular file: choose another name"):
        write_atomically(path, b"new")
    assert path.is_fifo() and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_file_is_written(tmp_path, exists):
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"
    assert [*target.parent.iterdir()] == [target]


def test_a_file_has_no_name_before_it_is_complete(tmp_path):
    with pytest.raises(ZeroDivisionError), whole_file(tmp_path / "file") as file:
        file.write(b"half")
        assert not (tmp_path / "file").exists()
        1 / 0  # noqa: B018
    assert os.listdir(tmp_path) == []
    with pytest.raises(FileNotFoundError, match="there is no folder .*nowhere: create it first"):
        write_atomically(tmp_path / "nowhere" / "file", b"")


DEAD = "0123456789abcdef.tmp"


def test_what_dead_processes_left_is_removed_and_nothing_else(tmp_path):
    """Not what a process has open, nor files and links of the user's."""
    kept, folder = tmp_path / "kept", tmp_path / f".folder.{DEAD}"
    for path in (kept, folder):
        path.mkdir()
        (path / "000000.png").touch()
    (tmp_path / f".file.{DEAD}").touch()
    (tmp_path / f".link.{DEAD}").symlink_to(kept)
    others = {f".link.{DEAD}", ".file.1.tmp", ".file.tmp", "file", "kept"}
    for name in others:
        (tmp_path / name).touch()
    with whole_file(tmp_path / "new"), whole_folder(tmp_path / "folder"):
        remove_left_behind(tmp_path)
        assert len(os.listdir(tmp_path)) == len(others) + 2
    assert {*os.listdir(tmp_path)} == others | {"new", "folder"}
    assert os.listdir(kept) == ["000000.png"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, ".hidden", "a.tar.gz"])
def test_any_name_that_a_file_may_have_can_be_written(tmp_path, name):
    write_atomically(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EACCES, errno.EIO])
def test_a_file_system_may_refuse_to_flush_a_folder(tmp_path, monkeypatch, number):
    """The file is written then. A failing disk is an error."""
    flush = os.fsync

    def files_only(file):
        if stat.S_ISDIR(os.fstat(file).st_mode):
            raise OSError(number, os.strerror(number))
        flush(file)

    monkeypatch.setattr(os, "fsync", files_only)
    if number == errno.EIO:
        with pytest.raises(OSError, match="cannot be written: Input/output error: .*file"):
            write_atomically(tmp_path / "file", b"new")
    else:
        write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"


def test_a_lock_is_taken_once(tmp_path):
    pytest.importorskip("fcntl")
    with open(tmp_path / "lock", "ab") as one:
        assert lock(one, wait=False)
        with open(tmp_path / "lock", "ab") as other:
            assert not lock(other, wait=False)
    with open(tmp_path / "lock", "ab") as third:
        assert lock(third, wait=True)


def test_json_of_any_numbers():
    result = {
        "nan": float("nan"),
        "arrays": (np.float32(0.5), np.array([[1, 2]]), np.array([np.inf])),
        3: Path("runs/one"),
    }
    expected = {"nan": None, "arrays": [0.5, [[1, 2]], [None]], "3": str(Path("runs/one"))}
    assert json.loads(to_json(result)) == expected
    with pytest.raises(TypeError):
        to_json({"object": object()})


def test_a_table_has_columns_and_a_heading():
    assert table([["name", "n"], ["a", "100"]]) == "name  n\n----  ---\na     100"
