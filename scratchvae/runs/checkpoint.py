"""A training run between two steps, as one file: a checkpoint.

Tensors (weights, BatchNorm statistics, the optimizer's running averages) are stored as safetensors.
The progress (steps, random states, the position in the epoch, history) is JSON, whose bytes are one
tensor more. All is in one file, which is therefore complete or missing, and a digest shows whether
the disk returns what was written. Nothing in the file is ever executed, as a pickle would be.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..models.weights import read_tensors

FORMAT = 1
PROGRESS = "facts.json"  # the name in the file

Arrays = dict[str, np.ndarray]


def to_bytes(arrays: Arrays, progress: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    from safetensors.numpy import save

    text = json.dumps(progress, allow_nan=False).encode()
    laid_out = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    laid_out[PROGRESS] = np.frombuffer(text, "uint8")
    # A single text: if there are several, safetensors changes their order from file to file.
    return save(laid_out, {"checkpoint": f"format {FORMAT}, SHA-256 {digest(laid_out)}"})


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """The tensors and the progress in a checkpoint. ValueError if it is not a checkpoint, or not
    as it was written; OSError if it cannot be read."""
    arrays, texts = read_tensors(path, "read_checkpoint")
    written = texts.get("checkpoint", "")
    if not written.startswith(f"format {FORMAT}, "):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint of format {FORMAT}")
    if written != f"format {FORMAT}, SHA-256 {digest(arrays)}":
        raise ValueError(f"read_checkpoint: {path} is damaged: its digest differs")
    try:
        progress = json.loads(arrays.pop(PROGRESS).tobytes())
    except (KeyError, ValueError, RecursionError):
        progress = None
    if not isinstance(progress, dict):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint: {PROGRESS} is no table")
    return arrays, progress


def take_first(
    paths: Iterable[Path], take: Callable[[Arrays, dict[str, Any]], object]
) -> tuple[Path | None, dict[Path, str]]:
    """Pass one checkpoint after the other to `take`, until one is sound and `take` accepts it.

    Returns that one or None, and those before it, each with the reason: it is damaged or missing,
    or the ValueError of `take`.
    """
    refused: dict[Path, str] = {}
    for path in paths:
        try:
            take(*read_checkpoint(path))
            return path, refused
        except FileNotFoundError:
            refused[path] = f"there is no {path}"
        except ValueError as problem:
            refused[path] = str(problem)
    return None, refused


def below(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays whose names begin with `prefix`, by the rest of their names."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def digest(arrays: Arrays) -> str:
    """SHA-256 over all tensors, by name."""
    sha = hashlib.sha256()
    for name, a in sorted(arrays.items()):
        sha.update(repr((name, a.dtype.str, a.shape)).encode())
        sha.update(np.asarray(a, order="C").tobytes())
    return sha.hexdigest()
