"""A training run between two steps, as one file: a checkpoint.

Tensors (weights, BatchNorm statistics, the optimizer's running averages) as safetensors, and all
that is no tensor (steps, random states, the place in the epoch, history) as JSON in that file's
header. One file, so that it is there in whole or not at all; and a digest of both, so that a disk
that forgot something is found out. Nothing in it is ever executed, as a pickle would be.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..checkpoint import read_tensors

FORMAT = 1

Arrays = dict[str, np.ndarray]


def to_bytes(arrays: Arrays, facts: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    from safetensors.numpy import save

    text = json.dumps(facts, allow_nan=False)
    # One text: of several, safetensors changes the order from file to file.
    header = {"format": FORMAT, "digest": digest(arrays, text), "facts": text}
    laid_out = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    return save(laid_out, {"checkpoint": json.dumps(header)})


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[Arrays, dict[str, Any]]:
    """Tensors and facts of a checkpoint.

    Raises
    ------
    ValueError
        If it is no checkpoint, or not as it was written.
    OSError
        If it cannot be read.
    """
    arrays, texts = read_tensors(path, "read_checkpoint")
    header = _table(path, texts.get("checkpoint", "null"))
    text = header.get("facts")
    if header.get("format") != FORMAT or not isinstance(text, str):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint of format {FORMAT}")
    if header.get("digest") != digest(arrays, text):
        raise ValueError(f"read_checkpoint: {path} is damaged: its digest differs")
    return arrays, _table(path, text)


def _table(path: str | os.PathLike[str], text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint: no table in its header")
    return found


def digest(arrays: Arrays, text: str) -> str:
    """SHA-256 over all tensors, by name, and the text."""
    sha = hashlib.sha256(text.encode())
    for name, a in sorted(arrays.items()):
        sha.update(repr((name, a.dtype.str, a.shape)).encode())
        sha.update(np.asarray(a, order="C").tobytes())
    return sha.hexdigest()


def generator(state: Any) -> np.random.Generator:
    """A random generator in this state, as `rng.bit_generator.state` gave it."""
    rng = np.random.default_rng(0)
    try:
        rng.bit_generator.state = state
    except (TypeError, ValueError, KeyError, OverflowError) as error:
        raise ValueError(f"no state of a random generator: {error!r}") from None
    return rng


def need(facts: dict[str, Any], name: str, fits: Callable[[Any], bool]) -> Any:
    """facts[name], or ValueError if it is not there or not what it must be."""
    if name not in facts or not fits(facts[name]):
        raise ValueError(f"the checkpoint's {name} is missing or makes no sense")
    return facts[name]
