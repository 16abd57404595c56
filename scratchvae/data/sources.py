"""Data sets from the internet: their files, where these may lie, and how they are downloaded.

The files are looked for in the folder that the caller gives, and only there; or else in the folder
``$SCRATCHVAE_DATA``, in the cache, and at the mirrors on the internet. In a folder F, the files of
MNIST may lie in F, ``F/mnist/`` or ``F/MNIST/raw/`` (torchvision's), compressed or unpacked, also
in the spellings of Kaggle; likewise for the other sets. ``checksums.txt`` has the known hashes.
"""

import os
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from types import SimpleNamespace
from typing import NamedTuple

from ..output import bars_are_seen, cache_folder
from .dataset import Verdict
from .idx import unpacked_md5

CONNECT_SECONDS = 5  # long enough for a slow link, short enough to try several mirrors
READ_SECONDS = 30
SLOWEST = 50_000  # bytes per second: a slower download is given up, but no sooner than after
GRACE_SECONDS = 60


class Source(NamedTuple):
    """A data set: its files, and what is known of them."""

    folders: tuple[str, ...]  # the names of folders for it; the first is that in the cache
    files: Mapping[str, str]  # by the field of `Dataset` that each becomes
    mirrors: tuple[str, ...]  # all with the same downloads, the preferred one first
    downloads: Mapping[str, tuple[int, str]]  # bytes and SHA-256, of the files or of an archive
    md5: Mapping[str, str]  # of the unpacked files, by name
    classes: Sequence[str] | None = None  # the name of each label, if it is not the number
    archive_folder: str = ""  # that of the files in the archive


FILES = {
    "train_images": "train-images-idx3-ubyte.gz",
    "train_labels": "train-labels-idx1-ubyte.gz",
    "test_images": "t10k-images-idx3-ubyte.gz",
    "test_labels": "t10k-labels-idx1-ubyte.gz",
}
CHECKSUMS = Path(__file__).with_name("checksums.txt").read_text("utf-8").splitlines()
INNER = ("", "raw", "gzip", "cifar-10-batches-py", "cifar-10-batches-bin")


def _known(dataset: str) -> tuple[dict[str, tuple[int, str]], dict[str, str]]:
    """The downloads and the MD5 of a data set in ``checksums.txt``."""
    rows = [line.split()[1:] for line in CHECKSUMS if line.startswith(f"{dataset} ")]
    downloads = {name: (int(size), sha256) for name, size, sha256, _ in rows if size != "-"}
    return downloads, {name: md5 for name, _, _, md5 in rows if md5 != "-"}


def _source(
    folders: tuple[str, ...],
    *mirrors: str,
    files: Mapping[str, str] = FILES,
    classes: Sequence[str] | None = None,
    archive_folder: str = "",
) -> Source:
    return Source(folders, files, mirrors, *_known(folders[0]), classes, archive_folder)


def _emnist(split: str, classes: Sequence[str]) -> Source:
    files = {f: f"emnist-{split}-{n.replace('t10k', 'test')}" for f, n in FILES.items()}
    mirror = "https://biometrics.nist.gov/cs_links/EMNIST/"
    return _source(
        ("emnist", "EMNIST"), mirror, files=files, classes=classes, archive_folder="gzip"
    )


LETTERS = string.ascii_uppercase + string.ascii_lowercase
MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"  # c and C, ... are one class
GARMENTS = "T-shirt/top,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
THINGS = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"

SOURCES = {
    "mnist": _source(
        ("mnist", "MNIST"),
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    "fashion-mnist": _source(
        ("fashion-mnist", "FashionMNIST"),
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        classes=GARMENTS.split(","),
    ),
    "kmnist": _source(
        ("kmnist", "KMNIST"),
        "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        classes=["o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"],
    ),
    "emnist-letters": _emnist("letters", ["", *string.ascii_lowercase]),  # the labels: 1 to 26
    "emnist-balanced": _emnist("balanced", [*MERGED]),
    "emnist-bymerge": _emnist("bymerge", [*MERGED]),
    "emnist-byclass": _emnist("byclass", [*string.digits, *LETTERS]),
    "emnist-digits": _emnist("digits", [*string.digits]),
    "emnist-mnist": _emnist("mnist", [*string.digits]),
    "cifar10": _source(
        ("cifar10", "cifar-10-batches-py", "cifar-10-batches-bin"),
        "https://www.cs.toronto.edu/~kriz/",
        files={name: name for name in _known("cifar10")[1]},
        classes=THINGS.split(","),
        archive_folder="cifar-10-batches-py",
    ),
}
OWNERS = {md5: name for name, source in SOURCES.items() for md5 in source.md5.values()}


class DataNotFound(OSError):
    """The files are not on this machine and no mirror delivered them."""


def find_files(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Find the files of a data set, and download them if needed.

    Parameters
    ----------
    dataset : str
        Such as "mnist"; see `SOURCES`.
    data_dir : str or path-like, optional
        Look only in this folder.

    Returns
    -------
    dict of str to Path
        The files by the fields of `Dataset`, all from one folder; without labels if the folder has
        none. CIFAR-10: by the names of its batches.

    Raises
    ------
    FileNotFoundError
        If `data_dir` is given and files are missing there; names them.
    DataNotFound
        If there are none; the message lists the folders and mirrors tried.
    """
    if dataset not in SOURCES:
        raise ValueError(f"unknown data set {dataset!r}; choose from {', '.join(SOURCES)}")
    found, tried = find_on_disk(dataset, data_dir)
    if not found and data_dir is not None:
        raise FileNotFoundError(f"{dataset} is not in {tried[0]}")
    return found or download_files(dataset, tried)


def find_on_disk(
    dataset: str, data_dir: str | os.PathLike[str] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """The files without a download, or none; and what is missing in each folder."""
    tried = []
    if data_dir is not None:
        folders = {str(data_dir): Path(data_dir)}
    else:
        named = os.environ.get("SCRATCHVAE_DATA")
        folders = {f"$SCRATCHVAE_DATA = {named}": Path(named)} if named else {}
        tried += [] if named else ["$SCRATCHVAE_DATA: not set"]
        try:
            folders[str(cache_of(dataset))] = cache_of(dataset)
        except RuntimeError as error:  # no home directory
            tried.append(f"the cache: {error}")
    for label, folder in folders.items():
        try:
            return _look(folder, dataset), tried
        except (OSError, RuntimeError) as problem:  # RuntimeError: an unknown user in ~user
            tried.append(f"{label}: {problem}")
    return {}, tried


def cache_of(dataset: str) -> Path:
    """The folder for downloads of a data set; RuntimeError without a home directory."""
    return cache_folder() / SOURCES[dataset].folders[0]


def _look(named: Path, dataset: str) -> dict[str, Path]:
    """The files in a folder; FileNotFoundError if any is missing."""
    source, root = SOURCES[dataset], named.expanduser().absolute()
    if not root.is_dir():
        raise FileNotFoundError("there is no such folder")
    # Several sets have the same file names: skip a folder named after another set.
    others = {name for s in SOURCES.values() for name in s.folders} - {*source.folders}
    most: dict[str, Path] = {}
    # All from one folder: images and labels must be from the same set.
    for folder in (root / outer / inner for outer in (*source.folders, "") for inner in INNER):
        if _named(folder) not in others:
            files = {field: _spelled(folder, name) for field, name in source.files.items()}
            most = max(most, {f: path for f, path in files.items() if path}, key=len)
    # A folder has both label files or none. If it has one, the other is missing.
    labelled = not most or any(field.endswith("labels") for field in most)
    needed = {f: name for f, name in source.files.items() if labelled or not f.endswith("labels")}
    missing = [name for field, name in needed.items() if field not in most]
    if missing:
        why = "; the folder has the name of another data set" if _named(root) in others else ""
        raise FileNotFoundError(f"missing {', '.join(missing)}{why}")
    return most


def _named(folder: Path) -> str:
    return (folder.parent if folder.name in INNER else folder).name


def _spelled(folder: Path, name: str) -> Path | None:
    """The file under one of its usual names, or in a folder that has its unpacked name."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    spellings = (name, plain, f"{dotted}.gz", dotted, f"{plain}.bin")
    paths = (folder / outer / spelling for outer in ("", plain) for spelling in spellings)
    return next((path for path in paths if path.is_file()), None)


def download_files(dataset: str, tried: Sequence[str] = ()) -> dict[str, Path]:
    """Download missing files into the cache; DataNotFound lists `tried` and why mirrors failed."""
    source, put = SOURCES[dataset], "Put these files into a folder"
    try:
        cache = cache_of(dataset)
        put = f"Put these files, as they are or unpacked, into {cache}\nor into a folder"
        tried = [*tried, *fetch(source, cache)]
        return _look(cache, dataset)
    except (RuntimeError, FileNotFoundError):  # without a home directory there is no cache
        raise DataNotFound(
            f"{dataset} is not on this machine and could not be downloaded. Tried:\n"
            + "".join(f"  - {attempt}\n" for attempt in tried)
            + f"{put} that you name with --data-dir or $SCRATCHVAE_DATA:\n"
            + "\n".join(f"  - {name}" for name in source.files.values())
        ) from None


def fetch(source: Source, folder: Path) -> list[str]:
    """Download missing files into `folder`; returns why each mirror failed, or [] if all are there.

    Pooch checks the hash before a file gets its name. After one failure, the next mirror is tried.
    """
    import pooch  # here, for `import scratchvae` to stay fast

    http = pooch.HTTPDownloader(
        progressbar=bars_are_seen(),  # a log file would get thousands of lines
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
                for name, (size, sha256) in source.downloads.items():
                    get = partial(
                        pooch.retrieve, mirror + name, f"sha256:{sha256}", name, folder,
                        downloader=partial(_download, http, size),
                    )  # fmt: skip
                    if source.archive_folder:
                        _unpack(get, name, source, folder)
                    else:
                        get()
                return []
            except (OSError, ValueError) as error:
                failures.append(f"{mirror}: {explain(error)}")
    finally:
        logger.disabled = False
    return failures


def _download(http: Callable[..., None], size: int, url: str, path: str, _: object) -> None:
    """Download `size` bytes into a file; an error if there are more, or if it takes too long.

    In a thread, since it may wait for ever: a server can send one byte every 29 seconds.
    """
    errors: list[Exception] = []
    seconds = max(GRACE_SECONDS, size / SLOWEST)
    with open(path, "wb") as file:

        def write(chunk: bytes) -> None:
            if file.tell() + len(chunk) > size:
                raise ValueError(f"expected {size} bytes, the server sends more")
            file.write(chunk)

        def work() -> None:
            try:
                http(url, SimpleNamespace(write=write, flush=file.flush), None)
            except Exception as error:
                errors.append(error)

        thread = Thread(target=work, daemon=True)  # daemon: it does not keep the program alive
        thread.start()
        thread.join(seconds)
        if thread.is_alive():  # writing to the closed file will end it
            raise TimeoutError(
                f"expected {size} bytes in {seconds:.0f} s, found {file.tell()} bytes (slower than "
                f"{SLOWEST // 1000} kB/s)"
            )
    if errors:
        raise errors.pop()  # popped: an error in a list that its traceback holds is a cycle


def _unpack(get: Callable[..., Sequence[str]], archive: str, source: Source, folder: Path) -> None:
    """Download an archive and unpack the files; each gets its name when it is complete."""
    import pooch

    kind = pooch.Unzip if archive.endswith(".zip") else pooch.Untar
    members = [f"{source.archive_folder}/{name}" for name in source.files.values()]
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder) as temporary:
        for file in get(processor=kind(members, temporary)):
            os.replace(file, folder / Path(file).name)


def explain(error: BaseException) -> str:
    """The message of the innermost error: the network library wraps it four times."""
    while inner := error.__cause__ or error.__context__:
        error = inner
    return str(error) or type(error).__name__


def verify_files(dataset: str, files: Mapping[str, Path]) -> Iterator[Verdict]:
    """Compare the files of a data set with known hashes, of their unpacked content."""
    source = SOURCES[dataset]
    for field, path in files.items():
        name = source.files[field]
        known = None if path.suffix == ".bin" else source.md5.get(name)
        try:
            found = unpacked_md5(path)
        except (ValueError, OSError) as problem:
            yield Verdict(path, "damaged", str(problem))
            continue
        if (owner := OWNERS.get(found, dataset)) != dataset:
            yield Verdict(path, "differs", f"it is a file of {owner}")
        elif known is None:
            yield Verdict(path, "unknown", "readable, but no hash of this file is known")
        elif found == known:
            yield Verdict(path, "ok")
        else:
            yield Verdict(path, "differs", f"its hash differs from that of {dataset}'s {name}")
