"""Weights on disk: safetensors, never pickle, and never half a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from .module import Module


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
        If it is no safetensors file, or does not fit the model (every misfit is listed).
    """
    state, _ = read_tensors(path, "load_weights")
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

    content = Path(path).read_bytes()
    try:
        arrays = load(content)
    except SafetensorError as error:
        raise ValueError(f"{name}: {path} is not a safetensors file ({error})") from None
    except KeyError as error:  # safetensors.numpy knows no bfloat16 and no 8-bit floats
        raise ValueError(f"{name}: {path} holds a dtype NumPy has not: {error}") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])  # load checked it
    return arrays, header.get("__metadata__", {})


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a whole file or none: readers see the old one or the new one, never a part."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush_folder(folder: Path) -> None:
    """The new name, too, has to reach the disk. Windows cannot, and need not, open a folder."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
