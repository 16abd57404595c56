"""Decode once, read many times: pixels in a file, and a note of how many files are done.

Decoding the 202,599 files of CelebA takes minutes; the result, 2.5 GB, is mapped from disk. Each
data set has its folder::

    pixels         the bytes, image after image: first the training set, then the test set
    progress.json  which files these are, how many are done, which ones are damaged
    lock           locked by the process that decodes

The process can be killed at any time: pixels reach the disk before the note that counts them, and
pixels beyond the count are decoded again.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..output import cache_folder, lock, whole_file
from .decode import decode_all

VERSION = 2  # of the recipe and of the note: with another number, every cache is decoded again
CHUNK = 512  # files between two notes


@dataclass
class Progress:
    """The note: how many files, in order, are done, and which of these are damaged."""

    fingerprint: str
    done: int = 0
    broken: dict[str, str] = field(default_factory=dict)  # file: reason

    def rows(self, names: list[str]) -> int:
        """The number of these files that have pixels."""
        return sum(name not in self.broken for name in names)


def decode_once(
    root: Path,
    train: list[str],
    test: list[str],
    size: int,
    crop: int | None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Pixels of all files for training and testing: read-only memmaps (N, 3, size, size) of uint8.

    Names are relative to `root`, a resolved folder; other arguments and errors are those of
    `load_folder`. The arrays stay valid even if another process replaces the cache.
    """
    parent = cache_folder() / "images" if cache_dir is None else Path(cache_dir).expanduser()
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    folder = parent / f"{root.name[:40]}-{size}-{crop or 'square'}-{digest}"
    names = train + test
    fingerprint = _fingerprint(root, names, len(train))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            progress = _resume(folder, fingerprint, names, 3 * size * size)
            if progress.done < len(names):
                _decode_rest(folder, progress, root, names, size, crop)
            if progress.broken:
                named = [f"{name} ({why})" for name, why in progress.broken.items()]
                print(
                    f"Skipped {len(named)} of {len(names)} files: {', '.join(named[:3])}"
                    f"{', ...' if named[3:] else ''}; full list: {folder / 'progress.json'}",
                    file=sys.stderr,
                )
            rows, test_rows = progress.rows(train), progress.rows(test)
            if not (rows and test_rows):
                raise ValueError(
                    f"{root}: expected readable images for training and for testing, "
                    f"found {rows} and {test_rows}"
                )
            # Mapped under the lock: later another process may replace the file.
            shape = (rows + test_rows, 3, size, size)
            pixels = np.memmap(folder / "pixels", np.uint8, "r", shape=shape)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}; decoded images are cached in {folder}: free some space, "
            "or choose another folder with cache_dir or $XDG_CACHE_HOME (finished images are kept)",
        ) from error
    return pixels[:rows], pixels[rows:]


def _fingerprint(root: Path, names: list[str], train_count: int) -> str:
    """Digest of names, sizes, times and modes of the files."""
    digest = hashlib.sha256(repr((VERSION, train_count)).encode())
    for name in names:
        try:
            found = os.stat(os.path.join(root, name))
            # The mode, too: a chmod may have made the file readable.
            stamp = (found.st_size, found.st_mtime_ns, found.st_mode)
        except OSError:  # decoding reports the reason
            stamp = (0, 0, 0)
        digest.update(repr((name, *stamp)).encode())
    return digest.hexdigest()


def _no_link(path: str, flags: int) -> int:
    """An opener that refuses links: they may lead to a file outside the cache."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time."""
    if not os.access(folder, os.W_OK):  # a complete cache can be used without writing to it
        yield
        return
    with open(folder / "lock", "ab", opener=_no_link) as file:
        if not lock(file, wait=False):
            print(f"Waiting while another process decodes into {folder}", file=sys.stderr)
            lock(file, wait=True)
        yield


def _resume(folder: Path, fingerprint: str, names: list[str], row_bytes: int) -> Progress:
    """How much of the cache is done; deletes a cache of other files."""
    # FileNotFoundError: there is no note; the others: the note is damaged
    with suppress(FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
        progress = Progress(**json.loads((folder / "progress.json").read_bytes()))
        done, pixels = progress.done, (folder / "pixels").stat(follow_symlinks=False)
        if (
            progress.fingerprint == fingerprint
            and type(done) is int
            and 0 <= done <= len(names)
            and progress.broken.keys() <= {*names[:done]}
            and stat.S_ISREG(pixels.st_mode)
            and progress.rows(names[:done]) * row_bytes <= pixels.st_size
        ):
            return progress
    # First the note: it must never count rows of another file. The pixels are unlinked, not
    # overwritten: a process that has them mapped keeps them.
    (folder / "progress.json").unlink(missing_ok=True)
    (folder / "pixels").unlink(missing_ok=True)
    return Progress(fingerprint)


def _decode_rest(
    folder: Path, progress: Progress, root: Path, names: list[str], size: int, crop: int | None
) -> None:
    """Append the pixels of the files that are not done, with a note after every `CHUNK` files."""
    from tqdm import tqdm

    rest = names[progress.done :]
    paths = [os.path.join(root, name) for name in rest]
    with (
        open(folder / "pixels", "ab", buffering=1 << 20, opener=_no_link) as file,
        closing(decode_all(paths, size, crop, ahead=CHUNK)) as results,
        tqdm(total=len(names), initial=progress.done, desc=root.name, disable=None) as bar,
    ):
        file.truncate(progress.rows(names[: progress.done]) * 3 * size * size)
        for name, result in zip(rest, results, strict=True):
            if isinstance(result, str):
                progress.broken[name] = result
            else:
                file.write(result.data)
            progress.done += 1
            if progress.done % CHUNK == 0 or progress.done == len(names):
                file.flush()
                os.fsync(file.fileno())
                with whole_file(folder / "progress.json") as note:
                    note.write(json.dumps(asdict(progress)).encode())
            bar.update()
