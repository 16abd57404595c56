"""The machine code of kernels on disk, in Numba's cache folder.

Numba's own cache files have no checksum: an empty or cut one ends every start in an exception, and
a flipped bit in machine code is run. Here each function has one file for each combination of types:

    SHA-256 of the rest | SHA-256 of all that the code was made from | pickle of the code

It is written under another name and then renamed. A file that is damaged or cannot be read is
replaced; if it cannot be written (a full disk, a quota), the kernel is compiled for this process.
"""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import numba
from numba.core.caching import FunctionCache, NullCache
from numba.core.serialize import dumps

DIGEST = sha256().digest_size

# A message is printed once, and none after it that says less. These are in rising order.
SLOW, DAMAGED, NOT_KEPT = 1, 2, 3
_printed = 0
_seconds = 0.0  # of compiling in this process


class Cache:
    """Numba's cache of one function, with files of ours. `sources`: a fingerprint of the source
    files that its machine code depends on. It prints a line if compiling takes long."""

    def __init__(self, function: Callable[..., Any], sources: str) -> None:
        self.on_disk: Any
        self.start, self.damage = 0.0, ""
        try:
            self.on_disk = FunctionCache(function)
            self.on_disk._cache_file = _Files(
                Path(self.on_disk.cache_path), self.on_disk._impl.filename_base, sources
            )
        except RuntimeError:  # "no locator available": read-only install, no writable home
            self.on_disk = NullCache()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.on_disk, name)

    def load_overload(self, *signature: Any) -> Any:
        self.start, self.damage = perf_counter(), ""
        try:
            return self.on_disk.load_overload(*signature)
        except OSError as error:
            self.damage = f"cannot be read ({error.strerror})"
        except Exception:  # unpickling or linking something else can raise anything
            self.damage = "is damaged"
        return None  # so Numba compiles it

    def save_overload(self, *code: Any) -> None:
        seconds = perf_counter() - self.start
        try:
            self.on_disk.save_overload(*code)
        except OSError as error:
            _print(NOT_KEPT, f", which cannot be kept in {self.cache_path} ({error.strerror})")
        if self.damage:
            _print(DAMAGED, f" again: a file in {self.cache_path} {self.damage}")
        _announce(seconds, isinstance(self.on_disk, NullCache))


class _Files:
    """The files of a function, in place of Numba's IndexDataCacheFile, whose index has no digest
    and may name the machine code of other types: two processes can choose the same file name."""

    def __init__(self, folder: Path, base: str, sources: str) -> None:
        self.folder, self.base = folder, base
        self.made_from = f"Numba {numba.__version__}, sources {sources}"

    def load(self, key: Any) -> Any:
        """What was saved for this key (the types and the processor), or None."""
        path, made_from = self._path_and_digest(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, rest = content[:DIGEST], content[DIGEST:]
        if sha256(rest).digest() != digest:
            raise ValueError(f"{path.name}: wrong checksum")
        if rest[:DIGEST] != made_from:
            return None  # a source file or Numba has changed since
        return pickle.loads(rest[DIGEST:])

    def save(self, key: Any, data: Any) -> None:
        path, made_from = self._path_and_digest(key)
        rest = made_from + dumps(data)
        unfinished = path.with_name(f"{path.name}.{uuid4().hex[:16]}.tmp")
        try:
            unfinished.write_bytes(sha256(rest).digest() + rest)
            os.replace(unfinished, path)
        except BaseException:
            with suppress(OSError):
                unfinished.unlink()
            raise

    def _path_and_digest(self, key: Any) -> tuple[Path, bytes]:
        made_from = sha256(f"{self.made_from}, {key!r}".encode()).digest()
        name = sha256(repr(key).encode()).hexdigest()[:16]
        return self.folder / f"{self.base}.{name}.nbc", made_from


def _announce(seconds: float, lost: bool) -> None:
    """Print that kernels are being compiled, after one second of compiling in this process."""
    global _seconds
    _seconds += seconds
    if _seconds >= 1:
        kept = "and nowhere to keep them" if lost else "once: the next start finds them on disk"
        _print(SLOW, f", {kept}")


def _print(kind: int, text: str) -> None:
    global _printed
    if kind <= _printed:
        return
    _printed = kind
    if sys.stderr is not None:  # closed, as by `2>&-`; print(file=None) would use standard output
        with suppress(OSError, ValueError):  # a full disk; closed in Python
            print(f"scratchvae: compiling kernels{text}", file=sys.stderr)
