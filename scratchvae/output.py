"""Files, written atomically or read with limits; messages, JSON, tables, locks, cache folder."""

from __future__ import annotations

import errno
import functools
import importlib
import json
import math
import os
import re
import shutil
import stat
import sys
import warnings
import zipfile
from argparse import ArgumentParser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path, PurePath
from secrets import token_hex
from typing import IO, Any, BinaryIO, TextIO

import numpy as np

from .notebook import in_notebook

COLOURS = {"red": 31, "yellow": 33}  # ANSI codes
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # for os.open: refuse a link


@contextmanager
def whole_file(path: str | os.PathLike[str], no_link: bool = False) -> Iterator[BinaryIO]:
    """A file to write in a `with` block, flushed to disk and renamed at the end of the block.

    Readers see the old file or the new one, never a part, even after a crash. If the block fails,
    the old file stays. If `path` is a link, it stays and the file that it names is written; with
    `no_link` it is replaced. OSError, which names `path`, if the file cannot be written, or if
    there is no regular file but a pipe or a device.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}: create it first")
    check_regular(path)
    target = path if no_link else Path(os.path.realpath(path))
    temporary = None
    try:
        temporary, file = _new_file(target)
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
        _sync_folder(target.parent)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise OSError(error.errno, why, str(path)) from error
    finally:
        if temporary is not None:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)


def temporary_name(path: Path) -> Path:
    """A random name beside `path`: two containers may have processes of the same number."""
    return path.with_name(f".{path.name[:40]}.{token_hex(8)}.tmp")


def _new_file(target: Path) -> tuple[Path, BinaryIO]:
    """A temporary file beside `target`, locked while it is open: see `left_behind`."""
    while True:
        temporary = temporary_name(target)
        file = open(temporary, "xb")  # noqa: SIM115  (whole_file closes it)
        with suppress(OSError):  # no locks here: then `left_behind` does not find it
            lock(file.fileno())
        if temporary.exists():
            return temporary, file
        file.close()  # `left_behind` came between the two calls


def _sync_folder(folder: Path) -> None:
    """Write a new name to disk, too, where that is possible."""
    number = None
    try:
        number = os.open(folder, os.O_RDONLY)
        os.fsync(number)
    except OSError as error:
        if error.errno == errno.EIO:  # others: folders cannot be opened or flushed here
            raise
    finally:
        if number is not None:
            os.close(number)


def check_regular(path: Path) -> None:
    """OSError if `path` is a pipe, a device or a socket, which a new file would replace."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(f"{path} is not a regular file: choose another name")


def write_atomically(path: str | os.PathLike[str], content: bytes, no_link: bool = False) -> None:
    """Write a file as in `whole_file`: completely or not at all."""
    with whole_file(path, no_link) as file:
        file.write(content)


def write_npz(
    path: str | os.PathLike[str],
    arrays: dict[str, np.ndarray],
    name: str,
    parts: Iterable[np.ndarray],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> None:
    """Write arrays as np.savez does, and one more array called `name`, which comes in parts, of
    this shape and dtype: it may be larger than the memory. OSError, which names `path`, if the file
    cannot be written; the old file stays then."""
    layout = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    with whole_file(path) as file, zipfile.ZipFile(file, "w") as archive:
        for other, array in arrays.items():
            with archive.open(f"{other}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)
        with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
            np.lib.format.write_array_header_1_0(entry, layout)
            for part in parts:
                entry.write(part.tobytes())


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A temporary folder to fill with files in a `with` block. At the end it becomes `path`; if
    `path` is already an empty folder, its files are moved there, one after another. If the block
    fails, no file is left. OSError, which names `path`, if the files cannot be written."""
    new = not path.exists()
    temporary = temporary_name(path.resolve() if new else path / path.resolve().name)
    number = None
    try:
        temporary.mkdir()
        with suppress(OSError):
            number = os.open(temporary, os.O_RDONLY)
            lock(number)
        yield temporary
        if new:
            temporary.rename(path)
        else:  # which may be the user's current folder, or another disk
            for file in temporary.iterdir():
                file.rename(path / file.name)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise OSError(error.errno, why, str(path)) from error
    finally:
        if number is not None:
            os.close(number)
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def errors_in_one_line(parser: ArgumentParser, *kinds: type[Exception]) -> Iterator[None]:
    """In a `with` block, an error of these kinds or Ctrl-C ends the program with one line on stderr
    and exit status 2. For scripts; other errors keep their traceback, and in a notebook all do."""
    try:
        yield
    except kinds as error:
        if in_notebook():
            raise
        parser.exit(2, f"{parser.prog}: error: {error}\n")
    except KeyboardInterrupt:
        if in_notebook():
            raise
        parser.exit(2, f"{parser.prog}: interrupted: no results are saved\n")


def warn(text: str) -> None:
    """Print a warning on standard error."""
    note(f"{paint('warning:', 'yellow', sys.stderr)} {text}")


def paint(text: str, colour: str, stream: TextIO | None) -> str:
    """The text in one of COLOURS on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or stream is None or not stream.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"


def note(text: str) -> None:
    """Print a message on standard error, as `tell` does on standard output."""
    _print(text, sys.stderr)


def tell(message: object) -> None:
    """Print a message on standard output, at once. A notebook shows a result as a table.

    It never fails, because then work would be lost: characters that the encoding lacks are written
    with escapes, and a message that cannot be written (a full disk, a closed pipe) is dropped.
    """
    if hasattr(message, "_repr_html_") and in_notebook():
        importlib.import_module("IPython.display").display(message)
    else:
        _print(str(message), sys.stdout)


def _print(text: str, stream: TextIO | None) -> None:
    if stream is None:  # closed, as by `>&-`
        return
    with suppress(OSError, ValueError):  # ValueError: closed in Python
        try:
            print(text, file=stream, flush=True)
        except UnicodeEncodeError:
            encoding = stream.encoding
            escaped = text.encode(encoding, "backslashreplace").decode(encoding)
            print(escaped, file=stream, flush=True)


def bars_are_seen() -> bool:
    """Whether progress bars are drawn: in a terminal and in a notebook, but not in a log file."""
    return sys.stderr is not None and (sys.stderr.isatty() or in_notebook())


def progress(
    work: Iterable[Any] | None, title: str, show: bool = True, leave: bool = False, **options: Any
) -> Any:
    """A progress bar of tqdm, if `show` is true: in a notebook, or on standard error if that is a
    terminal. At the end it is removed, unless `leave` is true."""
    hidden = not (show and bars_are_seen())
    if in_notebook():  # there, what comes from standard error looks like an error
        return _notebook_bar()(work, title, leave=leave, disable=hidden, file=sys.stdout, **options)
    from tqdm import tqdm  # here, for `import scratchvae` to stay fast

    return tqdm(work, title, leave=leave, disable=hidden, **options)


@functools.cache
def _notebook_bar() -> Any:
    """tqdm with a widget, or, without ipywidgets, as in a terminal; it need not warn of that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm


def left_behind(folder: Path) -> Iterator[Path]:
    """In a folder, the temporary files of `whole_file` and the temporary folders of `whole_folder`
    whose processes are dead: no process has locked them."""
    for path in folder.glob(".*.tmp"):
        if re.fullmatch(r"\..+\.[0-9a-f]{16}\.tmp", path.name):
            with suppress(OSError):  # gone meanwhile, a link, another user's, or no locks here
                number = os.open(path, os.O_RDONLY | NO_LINK)
                try:
                    if lock(number):
                        yield path
                finally:
                    os.close(number)


def remove_left_behind(folder: Path) -> None:
    """Delete what `left_behind` finds; OSError if that is not possible."""
    for path in left_behind(folder):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def open_file(path: str | os.PathLike[str], at_most: float) -> BinaryIO:
    """Open a file to read bytes; ValueError if it is no regular file or exceeds `at_most` bytes."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # reading a pipe blocks, /dev/zero has no end
        raise ValueError("not a file")
    if found.st_size > at_most:
        raise ValueError(f"expected at most {at_most} bytes, found {found.st_size}")
    return open(path, "rb")


def lock(file: int | IO[bytes], wait: bool = False) -> bool:
    """Lock an open file or folder until it is closed or the process dies.

    False if another process has the lock and `wait` is False. OSError if the file system has no
    locks, as some network file systems. Windows: no lock, always True.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def cache_folder() -> Path:
    """The user's cache folder for all data sets; RuntimeError without a home directory."""
    import pooch  # here, for `import scratchvae` to stay fast

    return Path(pooch.os_cache("scratchvae")).expanduser()


def to_json(result: dict[str, Any]) -> str:
    """A result as JSON; NaN and the infinities become null.

    Accepts numbers, strings, dicts, sequences, NumPy numbers and arrays, paths; else TypeError.
    """
    return json.dumps(_plain(result), indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, PurePath) else value


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error message: the known word closest to a misspelt one, if any."""
    near = get_close_matches(word.lower(), known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns; the first row is an underlined heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)
