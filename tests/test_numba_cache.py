"""Machine code on disk: damage and full disks cost a compilation, never a result or an error."""

import errno
import io
import os
import pickle
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from numba.core import config
from numba.core.caching import NullCache

from scratchvae.kernels import cpu
from scratchvae.kernels.cpu.runtime import cache


class Raising:
    """An object whose unpickling raises this exception."""

    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        return _raise, (self.error,)


def _raise(error):
    raise error


def signed(payload):
    """A damage with the right checksums, as by a program that writes such files itself."""

    def of(content):
        rest = content[cache.DIGEST : 2 * cache.DIGEST] + payload
        return sha256(rest).digest() + rest

    return of


def flipped(content, at):
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


ERRORS = [EOFError(), SystemError(), MemoryError(), ImportError(), KeyError(), RecursionError()]
DAMAGES = {
    "empty": lambda content: b"",
    "one byte": lambda content: content[:1],
    "first half": lambda content: content[: len(content) // 2],
    "last byte lost": lambda content: content[:-1],
    "one byte more": lambda content: content + b"x",
    "random": lambda content: np.random.default_rng(0).bytes(len(content)),
    "zeros": lambda content: bytes(len(content)),
    "bit in the checksum": lambda content: flipped(content, 0),
    "bit in the machine code": lambda content: flipped(content, len(content) * 3 // 4),
    "another pickle": lambda content: pickle.dumps({"a": 1}),
    "signed: another type": signed(pickle.dumps([1, 2])),
    "signed: garbage": signed(b"\x80\x05garbage"),
    **{f"signed: {type(e).__name__}": signed(pickle.dumps(Raising(e))) for e in ERRORS},
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and a process that has not printed or compiled anything."""
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(cache, "_printed", 0)
    monkeypatch.setattr(cache, "_seconds", -1000.0)
    return tmp_path


def new_twice():
    """A small kernel, as in a process that has not called it."""

    @cpu.jit
    def twice(x):
        return 2 * x

    return twice


def twice_in_a_new_process():
    """(its result, whether its machine code was found on disk)"""
    twice = new_twice()
    return twice(21), sum(twice.stats.cache_hits.values()) == 1


def the_file(folder):
    [path] = folder.rglob("*.nb*")
    return path


def test_what_is_saved_is_found(folder, capsys):
    assert twice_in_a_new_process() == (42, False)
    assert twice_in_a_new_process() == (42, True)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_replaced(folder, capsys, damage):
    twice_in_a_new_process()
    path = the_file(folder)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert twice_in_a_new_process() == (42, False)
    line = f"scratchvae: compiling kernels again: a file in {path.parent} is damaged\n"
    assert capsys.readouterr().err == line
    assert twice_in_a_new_process() == (42, True)


def test_a_file_that_cannot_be_read_is_replaced(folder, capsys):
    twice_in_a_new_process()
    path = the_file(folder)
    path.unlink()
    path.symlink_to(path)  # mode 000 does not stop root
    assert twice_in_a_new_process() == (42, False)
    assert f"a file in {path.parent} cannot be read (" in capsys.readouterr().err
    assert twice_in_a_new_process() == (42, True)


def test_a_folder_in_place_of_a_file(folder, capsys):
    twice_in_a_new_process()
    path = the_file(folder)
    path.unlink()
    path.mkdir()
    assert twice_in_a_new_process() == (42, False)
    assert f"cannot be kept in {path.parent} (Is a directory)" in capsys.readouterr().err
    assert the_file(folder) == path


def test_the_machine_code_of_other_types_is_not_used(folder):
    """Numba's index can name it: two processes that save at once choose the same file name."""
    twice_in_a_new_process()
    of_ints = the_file(folder).read_bytes()
    the_file(folder).unlink()
    assert new_twice()(1.5) == 3
    the_file(folder).write_bytes(of_ints)
    assert new_twice()(1.5) == 3


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EIO])
def test_a_disk_that_takes_half_a_file(folder, capsys, monkeypatch, number):
    """The half is removed, and a damaged file from before is not trusted later."""
    twice_in_a_new_process()
    the_file(folder).write_bytes(b"")

    def write_bytes(path, content):
        with path.open("wb") as file:
            file.write(content[:1000])
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", write_bytes)
        for _ in range(2):  # two kernels, one line
            assert twice_in_a_new_process() == (42, False)
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"scratchvae: compiling kernels, which cannot be kept in {folder}")
    assert line.endswith(f"({os.strerror(number)})")
    assert [path.read_bytes() for path in folder.rglob("*.*")] == [b""]


def test_a_file_in_place_of_the_folder(folder, capsys):
    twice_in_a_new_process()
    path = the_file(folder)
    twice = new_twice()
    path.unlink()
    path.parent.rmdir()
    path.parent.write_text("")
    assert twice(21) == 42
    assert f"cannot be kept in {path.parent} (" in capsys.readouterr().err


def test_without_a_place_for_a_cache_kernels_are_compiled_all_the_same(monkeypatch, capsys):
    """Numba raises if neither the install nor a home directory is writable."""

    def no_place(function):
        raise RuntimeError("cannot cache function 'f': no locator available for file")

    monkeypatch.setattr(cache, "FunctionCache", no_place)
    monkeypatch.setattr(cache, "_seconds", 1.0)
    twice = new_twice()
    assert twice(21) == 42
    assert isinstance(twice._cache.on_disk, NullCache)
    assert capsys.readouterr().err.endswith("compiling kernels, and nowhere to keep them\n")


def test_a_long_compilation_is_announced_once(monkeypatch, capsys):
    monkeypatch.setattr(cache, "_seconds", 0.0)
    for line in ("", "compiling kernels, once: the next start finds them on disk\n", ""):
        cache._announce(0.6, lost=False)
        assert capsys.readouterr().err.removeprefix("scratchvae: ") == line


class Full(io.StringIO):
    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


def closed():
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("stderr", [None, closed(), Full()], ids=["none", "closed", "full"])
def test_a_line_that_cannot_be_printed_is_dropped(monkeypatch, capsys, stderr):
    monkeypatch.setattr(sys, "stderr", stderr)
    cache._print(cache.DAMAGED, " again")
    assert capsys.readouterr().out == ""


# --- new processes --------------------------------------------------------------------------------

LINEAR = """
import numpy as np, scratchvae as sv
sv.use("numba")
x = np.arange(12, dtype="float32").reshape(3, 4)
y, cache = sv.ops.linear_forward(x, x + 1, x[:, 0])
print([a.sum() for a in (y, *sv.ops.linear_backward(y, cache))])
"""


def started(folder, code=LINEAR, before=None):
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=before,
    )


def ended(process):
    """(standard output, lines on standard error without the remark on long compilations)"""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, [line for line in err.splitlines() if "the next start finds them" not in line]


@pytest.mark.slow
def test_every_file_damaged_in_another_way(tmp_path):
    """Also those of the C functions, which are compiled at import."""
    out, lines = ended(started(tmp_path))
    assert lines == []
    files = sorted(tmp_path.rglob("*.nbc"))
    assert len(files) > 8
    for path, damage in zip(files, [*DAMAGES.values()] * len(files), strict=False):
        path.write_bytes(damage(path.read_bytes()))
    again, lines = ended(started(tmp_path))
    assert again == out
    assert len(lines) == 1 and lines[0].endswith("is damaged")
    written = {path: path.stat().st_mtime_ns for path in files}
    assert ended(started(tmp_path)) == (out, [])
    assert {path: path.stat().st_mtime_ns for path in sorted(tmp_path.rglob("*.*"))} == written


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process")
def test_files_that_end_in_the_middle(tmp_path):
    """A limit on the size of files stands for a full disk."""

    def limit():
        resource = __import__("resource")
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))

    out, lines = ended(started(tmp_path, before=limit))
    assert len(lines) == 1 and "cannot be kept in" in lines[0]
    assert [path for path in tmp_path.rglob("*.*") if path.is_file()] == []
    assert ended(started(tmp_path)) == (out, [])


@pytest.mark.slow
def test_processes_that_write_at_once(tmp_path):
    processes = [started(tmp_path) for _ in range(3)]
    results = [ended(process) for process in processes]
    assert results == results[:1] * 3 and results[0][1] == []
    assert ended(started(tmp_path)) == results[0]


@pytest.mark.slow
@pytest.mark.long
def test_a_command_with_a_damaged_cache(tmp_path):
    train = """
from scratchvae.__main__ import main
main("train tiny --data glyphs --epochs 1 --engine numba --batch-size 500 --out {}".split())
"""
    code = train.format(tmp_path / "run")
    ended(started(tmp_path / "cache", code))
    for path in (tmp_path / "cache").rglob("*.nbc"):
        path.write_bytes(DAMAGES["bit in the machine code"](path.read_bytes()))
    _, lines = ended(started(tmp_path / "cache", code.replace("/run", "/again")))
    assert [line for line in lines if "compiling" in line] == lines[:1]
    runs = [(tmp_path / name / "metrics.json").read_text() for name in ("run", "again")]
    assert runs[0] == runs[1]
