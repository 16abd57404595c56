"""A checkpoint: one file with everything that the next training step depends on.

Tensors (weights, BatchNorm statistics, the optimizer's running averages) are stored as safetensors.
The progress (steps, random states, position in the epoch, history) is JSON, stored as one more
tensor. A SHA-256 digest detects damage. Unlike a pickle, a checkpoint executes no code when loaded.
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
    # One text only: safetensors writes several in varying order.
    return save(laid_out, {"checkpoint": f"format {FORMAT}, SHA-256 {digest(laid_out)}"})


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and progress. ValueError: not a sound checkpoint; OSError: file not readable."""
    arrays, texts = read_tensors(path, "read_checkpoint")
    written = texts.get("checkpoint", "")
    if not written.startswith(f"format {FORMAT}, "):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint of format {FORMAT}")
    if written != f"format {FORMAT}, SHA-256 {digest(arrays)}":
        raise ValueError(f"read_checkpoint: {path} is damaged: its digest does not match")
    try:
        progress = json.loads(arrays.pop(PROGRESS).tobytes())
    except (KeyError, ValueError, RecursionError):
        progress = None
    if not isinstance(progress, dict):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint: {PROGRESS} is damaged")
    return arrays, progress


def take_first(
    paths: Iterable[Path], take: Callable[[Arrays, dict[str, Any]], object]
) -> tuple[Path | None, dict[Path, str]]:
    """The first sound path that `take` accepts, or None; and why each earlier one was refused."""
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
    """The arrays whose names begin with `prefix`, with the prefix removed."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def digest(arrays: Arrays) -> str:
    """SHA-256 over all tensors, by name."""
    sha = hashlib.sha256()
    for name, a in sorted(arrays.items()):
        sha.update(repr((name, a.dtype.str, a.shape)).encode())
        sha.update(np.asarray(a, order="C").tobytes())
    return sha.hexdigest()
