"""Are these the right files? Not by their names: by what is in them.

A file of MNIST is sound if it has the known hash, or holds what the file with that hash holds:
many people unpack the files, some compress them again. It is not enough that it can be read; a
single changed pixel makes other results than everybody else's.
"""

import gzip
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple, cast

from .decode import decode_all
from .idx import GZIP_MAGIC, read_idx
from .sources import FILES, SOURCES


class Verdict(NamedTuple):
    """What was found out about a file.

    Attributes
    ----------
    path : Path
        The file.
    verdict : {"ok", "differs", "damaged", "unknown"}
        "differs": it can be read, and is another file than it should be. "unknown": it can be read,
        and it is not known what should be in it.
    why : str
        In plain words; empty if the file is sound.
    """

    path: Path
    verdict: str
    why: str = ""


def verify_files(dataset: str, files: dict[str, Path]) -> Iterator[Verdict]:
    """Read the four files of a data set, and compare their hashes with the known ones.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
        Which one they should be.
    files : dict of str to Path
        From `find_files`.
    """
    for field, path in files.items():
        yield _verify(dataset, field, path)


def _verify(dataset: str, field: str, path: Path) -> Verdict:
    source, name = SOURCES[dataset], FILES[field]
    try:
        read_idx(path, expected_ndim=3 if field.endswith("images") else 1)
        with open(path, "rb") as raw:
            packed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            if packed and _has_hash(raw, source.hashes[name]):
                return Verdict(path, "ok")
            raw.seek(0)
            inside = cast(IO[bytes], gzip.GzipFile(fileobj=raw)) if packed else raw
            if name in source.unpacked and _has_hash(inside, source.unpacked[name]):
                return Verdict(path, "ok")
    except (ValueError, OSError) as problem:
        return Verdict(path, "damaged", str(problem))
    if packed or name in source.unpacked:
        return Verdict(path, "differs", f"its hash is not that of {dataset}'s {name}")
    return Verdict(path, "unknown", f"of {name} only the hash of the compressed file is known")


def _has_hash(stream: IO[bytes], known: str) -> bool:
    algorithm, _, expected = known.partition(":")
    digest = hashlib.new(algorithm)
    while chunk := stream.read(1 << 20):
        digest.update(chunk)
    return digest.hexdigest() == expected


def verify_images(root: Path, names: Sequence[str]) -> Iterator[Verdict]:
    """Decode every image.

    Parameters
    ----------
    root : Path
        A folder.
    names : sequence of str
        Files, relative to it.
    """
    paths = [os.path.join(root, name) for name in names]
    for path, result in zip(paths, decode_all(paths, 64, None, ahead=512), strict=True):
        broken = isinstance(result, str)
        yield Verdict(Path(path), "damaged" if broken else "ok", str(result) if broken else "")
