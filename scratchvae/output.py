"""What leaves the program: whole files, JSON, tables of text; and the lock and the cache folder.

A file is written under a temporary name, flushed to disk and renamed. Readers see the old file or
the new one, never a part, also after a crash or a loss of power.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import IO, Any, BinaryIO

import numpy as np


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to in a `with` block, for content that need not be in memory at once.

    It gets its name at the end of the block. If the block fails, what was written is deleted, and
    an older file of that name stays.

    Raises
    ------
    OSError
        If it cannot be written; names `path`.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write into")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")  # see left_behind
    try:
        temporary.unlink(missing_ok=True)  # of a process that was killed, or a link to elsewhere
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except OSError as error:
        why = f"cannot be written: {error.strerror or error}"
        raise OSError(error.errno, why, str(path)) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file or none, see `whole_file`."""
    with whole_file(path) as file:
        file.write(content)


def left_behind(folder: Path) -> Iterator[Path]:
    """The temporary files of `whole_file` in this folder whose processes are dead."""
    for path in folder.glob(".*.tmp") if os.name == "posix" else ():
        if found := re.fullmatch(r"\..+\.(\d{1,9})\.tmp", path.name):
            try:
                os.kill(int(found[1]), 0)  # asks whether there is such a process
            except ProcessLookupError:
                yield path
            except PermissionError:  # there is one, of another user
                pass


def _flush_folder(folder: Path) -> None:
    """The new name has to reach the disk, too. Windows cannot open a folder, and need not."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def lock(file: IO[bytes], wait: bool) -> bool:
    """Lock an open file until it is closed, or until this process dies.

    Parameters
    ----------
    file : file
    wait : bool
        Whether to wait while another process holds the lock.

    Returns
    -------
    bool
        False if another process holds the lock and `wait` is False. On Windows always True: no
        lock is taken there.
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
    """A result as JSON that any reader takes, without a line end after it.

    Parameters
    ----------
    result : dict
        Of numbers, strings, dicts, sequences, NumPy's numbers and arrays, and paths. NaN and the
        infinities, which JSON does not have, become null.

    Raises
    ------
    TypeError
        For anything else in it.
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
    """For the end of an error: the known word nearest to a misspelt one, if one is near."""
    near = get_close_matches(word.lower(), known, 1)
    return f" (did you mean {near[0]}?)" if near else ""


def table(rows: Sequence[Sequence[str]]) -> str:
    """Cells in columns, the first row underlined as a heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return "\n".join(line.rstrip() for line in lines)
