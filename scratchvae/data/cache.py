"""Decode once, read many times: pixels in an .npy file, and a note of what is in it.

Decoding the 202,599 files of CelebA takes minutes; the result, 2.5 GB, is mapped from disk. Each
data set has a folder of its own::

    pixels.npy  image after image: first those for training, then for validation and testing
    note.json   which files these are, which are damaged, and a digest of each chunk of pixels
    lock        locked by the process that decodes

The process can be killed at any time, and the machine can fail: pixels without a digest, or with
another one than in the note, are decoded again. Where the file system has no locks, each process
decodes into a folder of its own and then moves the two files here.
"""

import errno
import hashlib
import io
import json
import os
import stat
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from math import prod
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..output import cache_folder, lock, progress, whole_file
from .dataset import brightest_and_flat, doubts
from .decode import MachineFault, cores, decode_all, decode_or_reason
from .options import ImageOptions

VERSION = 3  # of the recipe and of the note: with another number, every cache is decoded again
CHUNK, CHUNK_BYTES = 1024, 1 << 24  # files and bytes between two notes, at most
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}  # of a file system
Images = NDArray[np.uint8]
Loaded = tuple[Images, list[bytes], tuple[int, int]]  # pixels, digests, brightest and flat


@dataclass
class Note:
    """What pixels.npy holds; `digests` are those of its chunks."""

    fingerprint: str
    digests: list[str] = field(default_factory=list)
    damaged: list[tuple[int, str]] = field(default_factory=list)  # indices of files, reasons


class Part(NamedTuple):
    """Images for one purpose: a read-only memmap (N, C, H, W), file names and digests."""

    images: Images
    names: list[str]
    digests: list[bytes]


class Decoded(NamedTuple):
    """The parts, the files without pixels by name, and sentences about doubtful images."""

    parts: list[Part]
    damaged: dict[str, str]
    doubts: list[str]


def decode_once(
    root: Path,
    parts: Sequence[list[str]],
    options: ImageOptions,
    cache_dir: str | os.PathLike[str] | None,
    say: Callable[[str], None],
) -> Decoded:
    """The pixels of all files, from the cache if they are there.

    `parts` are lists of names relative to `root`, a resolved folder; the first is for training.
    Other arguments and errors are those of `load_folder`. The arrays stay valid even if another
    process replaces the cache.
    """
    names = [name for part in parts for name in part]
    parent = cache_folder() / "images" if cache_dir is None else Path(cache_dir).expanduser()
    size = "{1}x{0}".format(*options.size) if isinstance(options.size, tuple) else "native"
    digest = hashlib.sha256(os.fsencode(root) + repr(options).encode()).hexdigest()[:12]
    folder = parent / f"{root.name[:40]}-{size}-{digest}"
    shape = _shape(root, names, options)
    recipe = VERSION, CHUNK, CHUNK_BYTES, shape, [len(part) for part in parts]
    fingerprint = _fingerprint(root, names, recipe)
    try:
        _make_own(folder)
        cache = _Cache(folder, root, names, shape, options)
        with _locked(folder, say) as why_not:
            load = partial(cache.load_unlocked, why_not) if why_not else cache.load
            pixels, digests, found = load(fingerprint, len(parts[0]), say)
    except MachineFault:
        raise
    except OSError as error:
        raise OSError(
            error.errno,
            f"{error.strerror or error}; decoded images are cached in {folder}: make sure that it "
            "is yours and has space, or choose another folder with cache_dir or $XDG_CACHE_HOME "
            "(finished images are kept)",
        ) from error
    damaged = {names[i]: why for i, why in cache.note.damaged}
    ready, start = [], 0
    for part in parts:
        kept = [name for name in part if name not in damaged]
        rows = slice(start, start := start + len(kept))
        ready.append(Part(pixels[rows], kept, digests[rows]))
    return Decoded(ready, damaged, doubts(*found, len(ready[0].names)))


@dataclass
class _Cache:
    """The folder of a data set of the files `names`, whose images have this shape."""

    folder: Path
    root: Path
    names: list[str]
    shape: tuple[int, ...]
    options: ImageOptions
    note: Note = field(init=False)

    def __post_init__(self) -> None:
        self.pixels, self.note_file = self.folder / "pixels.npy", self.folder / "note.json"
        self.bytes = prod(self.shape)
        self.chunk = max(1, min(CHUNK, CHUNK_BYTES // self.bytes))  # files

    @property
    def done(self) -> int:
        """How many files, in order, are decoded."""
        return min(len(self.note.digests) * self.chunk, len(self.names))

    def load(self, fingerprint: str, train_files: int, say: Callable[[str], None]) -> Loaded:
        """All pixels, decoded as far as they are not there, and what `check` finds. Needs the lock:
        later another process may replace the files."""
        self.resume(fingerprint)
        if self.done < len(self.names):
            self.decode_rest()
        digests, found, bad = self.check(train_files)
        if bad is not None:
            say(
                f"the cache {self.pixels} is damaged (its pixels have changed): decoding "
                f"{len(self.names) - bad * self.chunk:,} files again"
            )
            self.keep(bad)
            self.decode_rest()
            digests, found, bad = self.check(train_files)
        if bad is not None:
            raise OSError(
                errno.EIO, f"{self.pixels}: the bytes read from the disk are not those written"
            )
        if not self.has_header():
            with open(self.pixels, "r+b", opener=_no_link) as file:
                file.write(self.header(self.rows))
        return self.map(), digests, found

    def load_unlocked(
        self, why: str, fingerprint: str, train_files: int, say: Callable[[str], None]
    ) -> Loaded:
        """As `load`, without a lock: no file is changed that another process may use. If there is
        not all that is needed, `say` gets the reason `why` there is no lock."""
        if self.read_note(fingerprint) and self.done == len(self.names):
            before = self.pixels.stat()
            digests, found, bad = self.check(train_files)
            if bad is None and self.has_header():
                pixels, now = self.map(), self.pixels.stat()
                if (now.st_ino, now.st_ctime_ns) == (before.st_ino, before.st_ctime_ns):
                    return pixels, digests, found
        say(
            f"the cache {self.folder} cannot be locked ({why}): what is decoded is kept only when "
            "all files are done; a folder that can be locked is better ($XDG_CACHE_HOME, cache_dir)"
        )
        with TemporaryDirectory(prefix="unlocked-", dir=self.folder) as folder:
            own = replace(self, folder=Path(folder))
            loaded = own.load(fingerprint, train_files, say)
            self.note = own.note
            os.replace(own.pixels, self.pixels)
            os.replace(own.note_file, self.note_file)
        return loaded

    def offset(self, files: int) -> int:
        """The offset behind the pixels of so many files."""
        rows = files - bisect_left(self.note.damaged, files, key=itemgetter(0))
        return len(self.header(0)) + rows * self.bytes

    def header(self, rows: int) -> bytes:
        """The header of an .npy file of so many images, on which its length does not depend."""
        text = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (rows, *self.shape)}
        np.lib.format.write_array_header_1_0(text, about)
        return text.getvalue()

    def resume(self, fingerprint: str) -> None:
        """Read the note. If it is missing, damaged or of other files, begin again."""
        if not self.read_note(fingerprint):
            # First the note: it must never describe another file. The pixels are unlinked, not
            # overwritten: a process that has them mapped keeps them.
            self.note_file.unlink(missing_ok=True)
            self.pixels.unlink(missing_ok=True)
            self.note = Note(fingerprint)

    def read_note(self, fingerprint: str) -> bool:
        """Read the note; False if it is missing, damaged or of other files."""
        # FileNotFoundError: there is no note; the others: the note is damaged
        with suppress(FileNotFoundError, ValueError, TypeError, AttributeError, RecursionError):
            self.note = note = Note(**json.loads(self.note_file.read_bytes()))
            indices = [i for i, why in note.damaged if type(i) is int and isinstance(why, str)]
            return (
                note.fingerprint == fingerprint
                and isinstance(note.digests, list)
                and len(note.digests) <= -(-len(self.names) // self.chunk)
                and len(indices) == len(note.damaged)
                and indices == sorted({*indices} & {*range(self.done)})
                and stat.S_ISREG(self.pixels.stat(follow_symlinks=False).st_mode)
            )
        return False

    def keep(self, chunks: int) -> None:
        """Forget all but the first chunks."""
        del self.note.digests[chunks:]
        self.note.damaged = [(i, why) for i, why in self.note.damaged if i < self.done]

    def decode_rest(self) -> None:
        """Append the pixels of the files that are not done, with a note after every chunk."""
        names, start = self.names, self.done
        paths = [os.path.join(self.root, name) for name in names[start:]]
        with (
            open(self.pixels, "ab", opener=_no_link) as file,
            closing(decode_all(paths, self.options, ahead=self.chunk)) as results,
            progress(None, self.root.name, leave=True, total=len(names), initial=start) as bar,
        ):
            if not start:
                file.truncate(0)
                file.write(self.header(0))
            file.truncate(self.offset(start))
            for first in range(start, len(names), self.chunk):
                images = []
                for i in range(first, min(first + self.chunk, len(names))):
                    found = next(results)
                    if isinstance(found, str):
                        self.note.damaged.append((i, found))
                    elif found.shape != self.shape:
                        raise ValueError(self.another_size(names[i], found.shape))
                    else:
                        images.append(found.data)
                    bar.update()
                # In one piece: each call of hashlib or write gives the interpreter lock away, and
                # would wait for a thread that decodes to give it back.
                content = b"".join(images)
                file.write(content)
                file.flush()
                self.note.digests.append(hashlib.sha256(content).hexdigest())
                with whole_file(self.note_file) as note:
                    note.write(json.dumps(asdict(self.note)).encode())

    def another_size(self, name: str, shape: tuple[int, ...]) -> str:
        (_, height, width), (_, H, W) = shape, self.shape
        return (
            f"{self.root}: image_size native: expected images of one size, found {W} x {H} and "
            f"{width} x {height} ({name}): choose a size, such as --image-size 64"
        )

    def check(self, train_files: int) -> tuple[list[bytes], tuple[int, int], int | None]:
        """Read all pixels. Returns a digest of each image; of those of the first `train_files`
        files the brightest byte, and how many have one single colour; and the first damaged chunk,
        or None."""
        train_end = self.offset(train_files)

        def read(chunk: int) -> tuple[bool, list[bytes], tuple[int, int]]:
            start, end = (
                self.offset(min(files, len(self.names)))
                for files in (chunk * self.chunk, (chunk + 1) * self.chunk)
            )
            # Not through the map, whose pages would count as memory of this process.
            rows = np.fromfile(self.pixels, np.uint8, end - start, offset=start)
            sound = hashlib.sha256(rows.data).hexdigest() == self.note.digests[chunk]
            images = rows.reshape(-1, *self.shape) if sound else np.empty((0, *self.shape), "u1")
            train = images[: max(0, train_end - start) // self.bytes]
            digests = [hashlib.sha256(image.data).digest()[:16] for image in images]
            return sound, digests, brightest_and_flat(train)

        digests: list[bytes] = []
        brightest = flat = 0
        with ThreadPoolExecutor(cores()) as pool:
            for chunk, found in enumerate(pool.map(read, range(len(self.note.digests)))):
                sound, some, (level, single) = found
                if not sound:
                    return digests, (brightest, flat), chunk
                digests += some
                brightest, flat = max(brightest, level), flat + single
        return digests, (brightest, flat), None

    @property
    def rows(self) -> int:
        """The number of images, when all files are done."""
        return (self.offset(len(self.names)) - self.offset(0)) // self.bytes

    def has_header(self) -> bool:
        """Whether the file begins with the header for all images."""
        header = self.header(self.rows)
        with open(self.pixels, "rb") as file:
            return file.read(len(header)) == header

    def map(self) -> Images:
        """All images, mapped from the file."""
        if self.rows == 0:  # a file of no bytes cannot be mapped
            return np.empty((0, *self.shape), np.uint8)
        return np.lib.format.open_memmap(self.pixels, mode="r")


def _shape(root: Path, names: Sequence[str], options: ImageOptions) -> tuple[int, ...]:
    """Of the images; that of the first readable one if they keep their own size."""
    channels = 1 if options.grey else 3
    if isinstance(options.size, tuple):
        return channels, *options.size
    for name in names:
        found = decode_or_reason(os.path.join(root, name), options)
        if not isinstance(found, str):
            return found.shape
    return channels, 1, 1


def _fingerprint(root: Path, names: Sequence[str], recipe: object) -> str:
    """Digest of the recipe, and of all that changes with the content of a file."""
    digest = hashlib.sha256(repr(recipe).encode())
    for name in names:
        try:
            found = os.stat(os.path.join(root, name))
            # The mode, too: a chmod may have made the file readable.
            times = (found.st_mtime_ns, found.st_ctime_ns)
            stamp = [found.st_size, *times, found.st_ino, found.st_mode]
        except OSError:  # decoding reports the reason
            stamp = []
        digest.update(repr((name, stamp)).encode())
    return digest.hexdigest()


def _no_link(path: str, flags: int) -> int:
    """An opener that refuses links: they may lead to a file outside the cache."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)


def _make_own(folder: Path) -> None:
    """Make the folder; PermissionError if it is not ours alone to write: its pixels could be
    another user's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.name == "posix":
        found = folder.stat(follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise PermissionError(errno.EPERM, "the folder is a link")
        if found.st_uid not in (os.geteuid(), 0):
            raise PermissionError(
                errno.EPERM, f"the folder belongs to another user ({found.st_uid})"
            )
        if found.st_mode & 0o022:
            raise PermissionError(errno.EPERM, "other users can write to the folder")


@contextmanager
def _locked(folder: Path, say: Callable[[str], None]) -> Iterator[str]:
    """One process at a time. Yields why there is no lock, or nothing."""
    if not os.access(folder, os.W_OK):  # a complete cache can be used without writing to it
        yield ""
        return
    with open(folder / "lock", "ab", opener=_no_link) as file:
        why = ""
        try:
            if not lock(file, wait=False):
                say(f"waiting while another process decodes into {folder}")
                lock(file, wait=True)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            why = os.strerror(error.errno)
        yield why
