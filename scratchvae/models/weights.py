"""Weights on disk, as safetensors: unlike a pickle, such a file cannot run code when loaded."""

from __future__ import annotations

import hashlib
import json
import os
from typing import BinaryIO

import numpy as np

from ..module import Module
from ..output import open_file, write_atomically

MAX_BYTES = 1 << 30  # sixty times the largest model here
MAX_HEADER = 1 << 20  # bytes of JSON, a hundred times ours; parsing 16 MiB would take 8 s
DIGEST = "sha256"  # its name in the header

ZIP = b"PK\x03\x04"
PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # of protocol 2 to 5
TO_CONVERT = (
    "it looks like a PyTorch file; where PyTorch is installed, convert it with these two lines of "
    "Python: `import torch, safetensors.torch` and `safetensors.torch.save_file(torch.load({0!r}, "
    "map_location='cpu', weights_only=True), 'weights.safetensors')`"
)


def save_weights(model: Module, path: str | os.PathLike[str], /, **metadata: object) -> None:
    """Write `model.state_dict()` and `metadata` to a .safetensors file, atomically."""
    # A header is UTF-8, but metadata may hold a folder's name, which can be any bytes.
    texts = {key: str(value).encode(errors="backslashreplace") for key, value in metadata.items()}
    write_atomically(
        path, to_bytes(model.state_dict(), {key: text.decode() for key, text in texts.items()})
    )


def to_bytes(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> bytes:
    """A .safetensors file: the arrays, and in its header the texts and a digest of everything."""
    from safetensors.numpy import save

    laid_out = {name: np.asarray(a, order="C") for name, a in arrays.items()}
    return save(laid_out, texts | {DIGEST: digest(laid_out, texts)})


def digest(arrays: dict[str, np.ndarray], texts: dict[str, str]) -> str:
    """SHA-256 over all arrays and texts, by name."""
    sha = hashlib.sha256()
    for name, a in sorted(arrays.items()):
        sha.update(repr((name, a.dtype.str, a.shape)).encode())
        sha.update(np.asarray(a, order="C").tobytes())
    if texts:
        sha.update(repr(sorted(texts.items())).encode())
    return sha.hexdigest()


def load_weights(model: Module, path: str | os.PathLike[str]) -> dict[str, str]:
    """Copy the weights of a .safetensors file into `model`.

    Returns
    -------
    dict
        The texts in the header of the file: the `metadata` of `save_weights`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is invalid or damaged, names another model, or does not fit; the message lists
        all misfits.
    """
    state, texts = read_tensors(path, "load_weights")
    # Weights of another model may have the same shapes: `skip` has the same with any `skips`.
    made_for = {"model": type(model).__name__.lower(), "skips": getattr(model, "skips", None)}
    for name, mine in made_for.items():
        if mine is not None and texts.get(name, mine) != mine:
            raise ValueError(
                f"load_weights: {path} does not fit: it was saved from {name} {texts[name][:80]}, "
                f"this is {name} {mine}"
            )
    try:
        model.load_state_dict(state)
    except ValueError as error:
        raise ValueError(f"load_weights: {path} does not fit: {error}") from None
    return texts


def read_tensors(
    path: str | os.PathLike[str], name: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays of a .safetensors file, and the texts in its header. ValueError if it is no
    safetensors file, or not what `to_bytes` wrote; the message begins with `name`. Files of other
    programs have no digest."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        with open_file(path, MAX_BYTES) as file:
            start = file.read(512)
            length = int.from_bytes(start[:8], "little")
            if length > MAX_HEADER:
                raise ValueError(_other_kind(start, file).format(os.fspath(path)))
            content = start + file.read()
        arrays = load(content)
    except (SafetensorError, ValueError) as error:  # NumPy's ValueError: 65 dimensions
        raise ValueError(f"{name}: {path} is not a safetensors file ({error})") from None
    except KeyError as error:  # safetensors.numpy lacks bfloat16 and 8-bit floats
        raise ValueError(
            f"{name}: {path} holds a dtype that NumPy does not have: {error}"
        ) from None
    header = json.loads(content[8 : 8 + length])  # load checked it
    texts = header.get("__metadata__") or {}
    others = {key: text for key, text in texts.items() if key != DIGEST}
    if DIGEST in texts and texts[DIGEST] != digest(arrays, others):
        raise ValueError(f"{name}: {path} is damaged: its digest does not match")
    return arrays, texts


def _other_kind(start: bytes, file: BinaryIO) -> str:
    """What a file is whose first bytes, `start`, are not those of weights of ours."""
    if start[8:9] == b"{":
        length = int.from_bytes(start[:8], "little")
        return f"expected a header of at most {MAX_HEADER} bytes, found {length}"
    if start[:4] == ZIP:
        length = int.from_bytes(start[26:28], "little")
        if start[30 : 30 + length].endswith(b".npy"):  # its first member
            return "it is a NumPy file"
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - MAX_HEADER))
        if b"/data.pkl" in file.read():  # in the list of members at the end
            return TO_CONVERT
    if start[:2] in PICKLES:  # of torch.save before PyTorch 1.6
        return TO_CONVERT
    return "it begins like a file of another kind"
