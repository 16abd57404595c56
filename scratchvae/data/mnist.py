"""MNIST and Fashion-MNIST: finding, downloading, reading and verifying the four files.

Both sets have 60,000 grey images of 28 x 28 pixels to train on and 10,000 to test with, in files of
the same names. The files are looked for in this order:

1. in the folder that the caller gives, and only there;
2. in the folder ``$SCRATCHVAE_DATA``;
3. in the cache, where an earlier download left them;
4. at the mirrors on the internet; a hash verifies each file.

In a folder F, the files may lie in ``F/mnist/`` or in F itself.
"""

import gzip
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..output import cache_folder
from .dataset import Dataset, Verdict
from .idx import GZIP_MAGIC, read_idx

CONNECT_SECONDS = 5  # long enough for a slow link, short enough to try several mirrors
READ_SECONDS = 30


class Source(NamedTuple):
    """Mirrors and hashes of a data set: ``"sha256:..."`` or ``"md5:..."``, by file name."""

    mirrors: tuple[str, ...]  # all with the same files, the preferred one first
    hashes: Mapping[str, str]
    unpacked: Mapping[str, str] = {}  # hashes of the unpacked files, where they are known


# The field of `Dataset` that each file becomes.
FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}


def _in_order(*hashes: str) -> dict[str, str]:
    return dict(zip(FILES.values(), hashes, strict=True))


SOURCES = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        hashes=_in_order(
            "sha256:440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            "sha256:3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            "sha256:8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            "sha256:f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
        unpacked=_in_order(
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    "fashion-mnist": Source(
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        hashes=_in_order(
            "md5:8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "md5:25c81989df183df01b3e8a0aad5dffbe",
            "md5:bef4ecab320f06d8554ea6380940ec79",
            "md5:bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
}


class DataNotFound(OSError):
    """The files are not on this machine and no mirror delivered them."""


def load_mnist(dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Find, read and check MNIST or Fashion-MNIST.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
    data_dir : str or path-like, optional
        Look only in this folder.

    Returns
    -------
    Dataset
        Images (N, 28, 28) and labels (N,), all uint8.

    Raises
    ------
    ValueError
        If a file is damaged, or the files do not match each other; names the file.
    OSError
        If the files cannot be found (see `find_files`) or read.
    """
    paths = find_files(dataset, data_dir)
    arrays = {field: _read(field, path) for field, path in paths.items()}
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        image_path, label_path = paths[f"{part}_images"], paths[f"{part}_labels"]
        N, height, width = images.shape
        if (height, width) != (28, 28):
            raise ValueError(f"{image_path}: expected images of 28 x 28, found {height} x {width}")
        if len(labels) != N:
            raise ValueError(
                f"{label_path}: expected {N} labels, one for each image in {image_path.name}, "
                f"found {len(labels)}"
            )
        if labels.max() > 9:
            raise ValueError(f"{label_path}: expected labels from 0 to 9, found {labels.max()}")
    return Dataset(name=dataset, **arrays)


def _read(field: str, path: Path) -> NDArray[np.uint8]:
    return read_idx(path, expected_ndim=3 if field.endswith("images") else 1)


def find_files(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Find the four files of a data set, and download them if needed.

    Parameters
    ----------
    dataset, data_dir
        As for `load_mnist`.

    Returns
    -------
    dict of str to Path
        The files by the fields of `Dataset`, all from one folder.

    Raises
    ------
    FileNotFoundError
        If `data_dir` is given and files are missing there; names them.
    DataNotFound
        If there are none; the message lists the folders and mirrors tried.
    """
    if dataset not in SOURCES:
        raise ValueError(f"unknown data set {dataset!r}; choose from {', '.join(SOURCES)}")
    if data_dir is None:
        found, tried = find_on_disk(dataset)
        return found or download_files(dataset, tried)
    try:
        return _look(data_dir, dataset)
    except FileNotFoundError as problem:
        raise FileNotFoundError(f"{dataset} is not in {data_dir}: {problem}") from None


def find_on_disk(dataset: str) -> tuple[dict[str, Path] | None, list[str]]:
    """The files without a download, or None; and what is missing in each folder."""
    named = os.environ.get("SCRATCHVAE_DATA")
    folders = {f"$SCRATCHVAE_DATA = {named}": Path(named)} if named else {}
    tried = [] if named else ["$SCRATCHVAE_DATA: not set"]
    try:
        cache = cache_folder() / dataset
        folders[str(cache)] = cache
    except RuntimeError as error:  # no home directory
        tried.append(f"the cache: {error}")
    for label, folder in folders.items():
        try:
            return _look(folder, dataset), tried
        except FileNotFoundError as problem:
            tried.append(f"{label}: {problem}")
    return None, tried


def _look(named: str | os.PathLike[str], dataset: str) -> dict[str, Path]:
    """The four files in a folder; FileNotFoundError if any is missing."""
    found = []
    try:
        folder = Path(named).expanduser()
        candidates = [folder / dataset] if folder.is_dir() else []
        # Both sets have the same file names: skip a folder named after the other set.
        if candidates and folder.name not in SOURCES.keys() - {dataset}:
            candidates.append(folder)
        for candidate in candidates:
            # All from one folder: images and labels must be from the same set.
            files = {field: _spelled(candidate, name) for field, name in FILES.items()}
            found.append({field: path for field, path in files.items() if path is not None})
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise FileNotFoundError(f"the folder cannot be read ({why})") from None
    except RuntimeError as error:  # such as ~nobody
        raise FileNotFoundError(str(error)) from None
    most = max(found, key=len, default=None)
    if most is None:
        raise FileNotFoundError("there is no such folder")
    missing = ", ".join(name for field, name in FILES.items() if field not in most)
    if not most:
        raise FileNotFoundError(f"the four files are missing ({missing})")
    if missing:
        raise FileNotFoundError(f"missing {missing}")
    return most


def _spelled(folder: Path, name: str) -> Path | None:
    """The file under one of its usual names: with or without .gz, with .idx3-ubyte."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    spellings = (name, plain, f"{dotted}.gz", dotted)
    return next((folder / s for s in spellings if (folder / s).is_file()), None)


def download_files(dataset: str, tried: Sequence[str] = ()) -> dict[str, Path]:
    """Download missing files into the cache; DataNotFound lists `tried` and why mirrors failed."""
    put = "Put these four files into a folder"
    try:
        cache = cache_folder() / dataset
        put = f"Put these four files, as they are or unpacked, into {cache}\nor into a folder"
        tried = [*tried, *fetch(SOURCES[dataset], cache)]
        return _look(cache, dataset)
    except (RuntimeError, FileNotFoundError):  # without a home directory there is no cache
        raise DataNotFound(
            f"{dataset} is not on this machine and could not be downloaded. Tried:\n"
            + "".join(f"  - {attempt}\n" for attempt in tried)
            + f"{put} that you name with --data-dir or $SCRATCHVAE_DATA:\n"
            + "\n".join(f"  - {name}" for name in FILES.values())
        ) from None


def fetch(source: Source, folder: Path) -> list[str]:
    """Download missing files into `folder`; returns why each mirror failed, or [] if all are there.

    Pooch checks the hash before a file gets its name. After one failure, the next mirror is tried.
    """
    import pooch  # here, for `import scratchvae` to stay fast

    downloader = pooch.HTTPDownloader(
        progressbar=sys.stderr.isatty(),  # a log file would get thousands of lines
        chunk_size=1 << 16,
        timeout=(CONNECT_SECONDS, READ_SECONDS),
        # Otherwise a server might send the file unpacked, with another hash.
        headers={"Accept-Encoding": "identity"},
    )
    failures = []
    logger = pooch.get_logger()  # it prints every file on stderr; the progress bar is enough
    logger.disabled = True
    try:
        for mirror in source.mirrors:
            try:
                for name, known in source.hashes.items():
                    pooch.retrieve(mirror + name, known, name, folder, downloader=downloader)
                return []
            except (OSError, ValueError) as error:
                failures.append(f"{mirror}: {explain(error)}")
    finally:
        logger.disabled = False
    return failures


def explain(error: BaseException) -> str:
    """The message of the innermost error: the network library wraps it four times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


def verify_files(dataset: str, files: Mapping[str, Path]) -> Iterator[Verdict]:
    """Compare the four files of a data set with known hashes.

    A file is ok if it, or its unpacked content, has a known hash.
    """
    source = SOURCES[dataset]
    for field, path in files.items():
        name = FILES[field]
        try:
            _read(field, path)
            content = path.read_bytes()
            packed = content.startswith(GZIP_MAGIC)
            inside = gzip.decompress(content) if packed else content
        except (ValueError, OSError) as problem:
            yield Verdict(path, "damaged", str(problem))
            continue
        unpacked = source.unpacked.get(name)
        if _has_hash(content, source.hashes[name]) or (unpacked and _has_hash(inside, unpacked)):
            yield Verdict(path, "ok")
        elif packed or unpacked:
            yield Verdict(path, "differs", f"its hash differs from that of {dataset}'s {name}")
        else:
            why = f"only the hash of the compressed file, {name}, is known"
            yield Verdict(path, "unknown", why)


def _has_hash(content: bytes, known: str) -> bool:
    algorithm, _, expected = known.partition(":")
    return hashlib.new(algorithm, content).hexdigest() == expected
