"""Decode once, read many times: pixels in a file, and a note of how far one got.

CelebA is 202,599 JPEG files. Decoding them takes minutes and as 64 x 64 pixels they fill 2.5 GB,
so it is done once, and the result is not loaded but mapped: `numpy.memmap` gives an array whose
pages come from the disk when somebody looks at them. Each data set has a folder of its own::

    pixels         the bytes, picture after picture: first the training set, then the test set
    progress.json  which files these are, how many are done, which ones were broken
    lock           held by whoever decodes

The rule that makes it safe to pull the plug: pixels reach the disk first, then the note that
counts them, and the note is replaced as a whole. Whatever lies beyond the count is cut off and
decoded again.
"""

import hashlib
import json
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .decode import decode_all
from .locking import lock

VERSION = 1  # of the recipe: another number, and every cache is decoded anew
CHUNK = 512  # files between two notes


@dataclass
class Progress:
    """The note. Every file is a row of pixels or broken, so the counts say where to go on."""

    fingerprint: str
    train_rows: int = 0
    test_rows: int = 0
    broken: dict[str, str] = field(default_factory=dict)  # file: reason

    @property
    def rows(self) -> int:
        return self.train_rows + self.test_rows

    @property
    def done(self) -> int:
        return self.rows + len(self.broken)

    def is_true_of(self, train: list[str], test: list[str]) -> bool:
        """Whether these are the counts of files that were done in this order; else, who knows."""
        rows = [
            sum(name not in self.broken for name in names)
            for names in (train[: self.done], test[: max(0, self.done - len(train))])
        ]
        return isinstance(self.broken, dict) and rows == [self.train_rows, self.test_rows]


def decode_once(
    root: Path,
    train: list[str],
    test: list[str],
    size: int,
    crop: int | None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels of all files, decoding those that are not in the cache yet.

    Files that cannot be decoded are left out, and named on stderr.

    Parameters
    ----------
    root : Path
        The folder with the pictures, resolved.
    train, test : list of str
        Files, relative to `root`.
    size, crop : int
        As for `decode`.
    cache_dir : str or path-like, optional
        Where the pixels are kept; by default ``images`` in the user's cache folder.

    Returns
    -------
    train_images, test_images : memmap of uint8, shape (N, 3, size, size)
        Read-only. They stay as they are even if the cache is built anew meanwhile.

    Raises
    ------
    ValueError
        If no file for training, or none for testing, can be decoded.
    OSError
        If the cache cannot be written. What was decoded so far is kept.
    """
    if cache_dir is None:
        import pooch  # here, for `import scratchvae` to stay fast

        cache_dir = Path(pooch.os_cache("scratchvae")) / "images"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:12]
    folder = Path(cache_dir).expanduser() / f"{root.name[:40]}-{size}-{crop or 'square'}-{digest}"
    fingerprint = _fingerprint(root, train, test)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            progress = _resume(folder, fingerprint, train, test, 3 * size * size)
            if progress.done < len(train) + len(test):
                _decode_rest(folder, progress, root, train, test, size, crop)
            _report(folder, progress)
            if not (progress.train_rows and progress.test_rows):
                raise ValueError(
                    f"{root}: expected readable images for training and for testing, "
                    f"found {progress.train_rows} and {progress.test_rows}"
                )
            # Mapped under the lock: the next process may put another file in this place.
            shape = (progress.rows, 3, size, size)
            pixels = np.memmap(folder / "pixels", np.uint8, "r", shape=shape)
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}; decoded pictures are kept in {folder}: make room there, "
            "or name another place with cache_dir or $XDG_CACHE_HOME (what is done is kept)",
        ) from error
    return pixels[: progress.train_rows], pixels[progress.train_rows :]


def _fingerprint(root: Path, train: list[str], test: list[str]) -> str:
    """Digest of what the files are, as far as it is known without opening them."""
    digest = hashlib.sha256(repr((VERSION, len(train))).encode())
    for name in train + test:
        try:
            found = os.stat(os.path.join(root, name))
            # The mode too: chmod may have given back what could not be read.
            stamp = (found.st_size, found.st_mtime_ns, found.st_mode)
        except OSError:  # decoding will tell why
            stamp = (0, 0, 0)
        digest.update(repr((name, *stamp)).encode())
    return digest.hexdigest()


def _here(path: str, flags: int) -> int:
    """Open for writing; never what a link leads to, which may be anybody's file."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. The system lets go of the lock when its process dies."""
    if not os.access(folder, os.W_OK):  # a cache to be read only: if it is complete, it will do
        yield
        return
    with open(folder / "lock", "ab", opener=_here) as file:
        if not lock(file, wait=False):
            print(f"Waiting for another process that decodes into {folder}", file=sys.stderr)
            lock(file, wait=True)
        yield


def _resume(
    folder: Path, fingerprint: str, train: list[str], test: list[str], row_bytes: int
) -> Progress:
    """Return how far the cache got, or throw away what belongs to other files."""
    try:
        progress = Progress(**json.loads((folder / "progress.json").read_bytes()))
        have = (folder / "pixels").stat(follow_symlinks=False)
        if (
            progress.fingerprint == fingerprint
            and progress.is_true_of(train, test)
            and stat.S_ISREG(have.st_mode)
            and progress.rows * row_bytes <= have.st_size
        ):
            return progress
    except (FileNotFoundError, ValueError, TypeError, RecursionError):  # no note, or a damaged one
        pass
    # The note goes first: it must never count the rows of another file. The pixels are unlinked
    # and not overwritten: a process that still has them mapped keeps them.
    (folder / "progress.json").unlink(missing_ok=True)
    (folder / "pixels").unlink(missing_ok=True)
    return Progress(fingerprint)


def _decode_rest(
    folder: Path,
    progress: Progress,
    root: Path,
    train: list[str],
    test: list[str],
    size: int,
    crop: int | None,
) -> None:
    """Append the pixels of the files that are not done, noting every `CHUNK` how far it got."""
    from tqdm import tqdm

    names = train + test
    rest = names[progress.done :]
    paths = [os.path.join(root, name) for name in rest]
    with (
        open(folder / "pixels", "ab", buffering=1 << 20, opener=_here) as file,
        closing(decode_all(paths, size, crop, ahead=CHUNK)) as results,
        tqdm(total=len(names), initial=progress.done, desc=root.name, disable=None) as bar,
    ):
        file.truncate(progress.rows * 3 * size * size)
        for name, result in zip(rest, results, strict=True):
            training = progress.done < len(train)
            if isinstance(result, str):
                progress.broken[name] = result
            else:
                file.write(result.data)
                progress.train_rows += training
                progress.test_rows += not training
            if progress.done % CHUNK == 0 or progress.done == len(names):
                file.flush()
                os.fsync(file.fileno())
                with open(folder / "progress.tmp", "w", opener=_here) as note:
                    note.write(json.dumps(asdict(progress)))
                os.replace(folder / "progress.tmp", folder / "progress.json")
            bar.update()


def _report(folder: Path, progress: Progress) -> None:
    """Say on stderr, in one line, which files were broken."""
    if progress.broken:
        named = [f"{name} ({reason})" for name, reason in progress.broken.items()]
        print(
            f"Left out {len(named)} of {progress.done} files: {', '.join(named[:3])}"
            f"{', ...' if len(named) > 3 else ''}; all of them in {folder / 'progress.json'}",
            file=sys.stderr,
        )
