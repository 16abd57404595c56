"""A training run between two steps, as one file: a checkpoint.

Tensors (weights, BatchNorm statistics, the optimizer's running averages) as safetensors, and all
that is no tensor (steps, random states, the place in the epoch, history) as JSON, whose bytes are
one tensor more. One file, so that it is there in whole or not at all; and a digest of it, so that a
disk that forgot something is found out. Nothing in it is ever executed, as a pickle would be.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from ..models.weights import read_tensors

FORMAT = 1
FACTS = "facts.json"

Arrays = dict[str, np.ndarray]


def to_bytes(arrays: Arrays, facts: dict[str, Any]) -> bytes:
    """The content of a checkpoint file."""
    from safetensors.numpy import save

    text = json.dumps(facts, allow_nan=False).encode()
    laid_out = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    laid_out[FACTS] = np.frombuffer(text, "uint8")
    # One text: of several, safetensors changes the order from file to file.
    return save(laid_out, {"checkpoint": f"format {FORMAT}, SHA-256 {digest(laid_out)}"})


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
    written = texts.get("checkpoint", "")
    if not written.startswith(f"format {FORMAT}, "):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint of format {FORMAT}")
    if written != f"format {FORMAT}, SHA-256 {digest(arrays)}":
        raise ValueError(f"read_checkpoint: {path} is damaged: its digest differs")
    try:
        facts = json.loads(arrays.pop(FACTS).tobytes())
    except (KeyError, ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise ValueError(f"read_checkpoint: {path} is not a checkpoint: it holds no facts")
    return arrays, facts


def below(prefix: str, arrays: Arrays) -> Arrays:
    """Those whose names begin so, by the rest of their names."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}


def digest(arrays: Arrays) -> str:
    """SHA-256 over all tensors, by name."""
    sha = hashlib.sha256()
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
