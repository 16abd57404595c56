"""Weights on disk: safetensors, never pickle, and never half a file."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ..module import Module

MAX_BYTES = 1 << 30  # of a file: sixty times the largest model here
MAX_HEADER = 1 << 20  # bytes of JSON: a hundred times what ours have; sixteen times more take 8 s


def save_weights(model: Module, path: str | os.PathLike[str], /, **metadata: object) -> None:
    """Write `model.state_dict()` to a .safetensors file, with `metadata` in its header.

    The file appears under its name only when it is complete: it is written beside it, flushed to
    disk, and renamed.
    """
    from safetensors.numpy import save

    # A header is UTF-8, and the name of a folder may be anything.
    texts = {key: str(value).encode(errors="backslashreplace") for key, value in metadata.items()}
    content = save(model.state_dict(), {key: text.decode() for key, text in texts.items()})
    write_atomically(path, content)


def load_weights(model: Module, path: str | os.PathLike[str]) -> None:
    """Copy the weights of a .safetensors file into `model`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or does not fit the model (every misfit is listed), or says
        that it is from another one.
    """
    state, texts = read_tensors(path, "load_weights")
    # Weights of another kind may fit in shape: those of `skip` do, whatever skips it has.
    made_for = {"model": type(model).__name__.lower(), "skips": getattr(model, "skips", None)}
    for name, mine in made_for.items():
        if mine is not None and texts.get(name, mine) != mine:
            raise ValueError(
                f"load_weights: {path} does not fit: it is of {name} {texts[name][:80]}, here is "
                f"{mine}"
            )
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"load_weights: {path} does not fit: {error}") from None


def read_tensors(
    path: str | os.PathLike[str], name: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a .safetensors file, and the texts in its header.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file; the message begins with `name`.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = _content(path)
        arrays = load(content)
    except (SafetensorError, ValueError) as error:  # the latter is NumPy's, of 65 dimensions
        raise ValueError(f"{name}: {path} is not a safetensors file ({error})") from None
    except KeyError as error:  # safetensors.numpy knows no bfloat16 and no 8-bit floats
        raise ValueError(f"{name}: {path} holds a dtype NumPy has not: {error}") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # load checked it
    return arrays, header.get("__metadata__") or {}


def _content(path: str | os.PathLike[str]) -> bytes:
    """All of a file, unless it is one that no model of ours fills."""
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):  # a pipe would be waited for, /dev/zero has no end
        raise ValueError("not a file")
    if found.st_size > MAX_BYTES:
        raise ValueError(f"expected at most {MAX_BYTES} bytes, found {found.st_size}")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"expected a header of at most {MAX_HEADER} bytes, found {length}")
        file.seek(0)
        return file.read()


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file or none: readers see the old one or the new one, never a part.

    Raises
    ------
    OSError
        If it cannot be written; names the file.
    """
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file to write to in a `with` block, for content that need not be in memory at once.

    It gets its name at the end of the block, flushed to the disk; if the block fails, what was
    written is deleted and the file of before, if there is one, stays.

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


def left_behind(folder: Path) -> Iterator[Path]:
    """The temporary files of `whole_file` in this folder whose processes are dead."""
    for path in folder.glob(".*.tmp") if os.name == "posix" else ():
        if found := re.fullmatch(r"\..+\.(\d{1,9})\.tmp", path.name):
            try:
                os.kill(int(found[1]), 0)  # asks whether there is such a process
            except ProcessLookupError:
                yield path
            except PermissionError:  # there is, somebody else's
                pass


def _flush_folder(folder: Path) -> None:
    """The new name, too, has to reach the disk. Windows cannot, and need not, open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
