"""A checkpoint: one file with everything that the next training step depends on.

Tensors (weights, BatchNorm statistics, the optimizer's running averages) are stored as safetensors.
The progress (steps, random states, position in the epoch, history) and the identity of the run are
JSON, stored as one more tensor. A SHA-256 digest detects damage. Unlike a pickle, a checkpoint
executes no code when loaded.
"""

from __future__ import annotations

import json
import os
from typing import Any

import numpy as np

from ..models import weights

PROGRESS = "facts.json"  # the name in the file

Arrays = dict[str, np.ndarray]


def to_bytes(arrays: Arrays, progress: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    text = np.frombuffer(json.dumps(progress, allow_nan=False).encode(), "uint8")
    # No texts in the header: safetensors writes several in varying order.
    return weights.to_bytes(arrays | {PROGRESS: text}, {})


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and progress. ValueError: not a sound checkpoint; OSError: file not readable."""
    arrays, texts = weights.read_tensors(path, "read_checkpoint")
    if weights.DIGEST not in texts:
        old = texts.get("checkpoint", "")  # of version 0.1
        if not old.startswith("format 1, "):
            raise ValueError(f"read_checkpoint: {path} is not a checkpoint: it has no digest")
        if old != f"format 1, SHA-256 {weights.digest(arrays, {})}":
            raise ValueError(f"read_checkpoint: {path} is damaged: its digest does not match")
    try:
        progress = json.loads(arrays.pop(PROGRESS).tobytes())
    except (KeyError, ValueError, RecursionError):
        progress = None
    if not isinstance(progress, dict):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint: {PROGRESS} is damaged")
    return arrays, progress


def below(prefix: str, arrays: Arrays) -> Arrays:
    """The arrays whose names begin with `prefix`, with the prefix removed."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
