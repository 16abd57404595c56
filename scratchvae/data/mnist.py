"""MNIST and Fashion-MNIST: finding the four files, and reading them with suspicion.

Both sets have the same shape and the same file names: 60,000 grey pictures of 28 x 28 pixels to
train on and 10,000 to test with, digits in one, shoes and shirts in the other. The files may
already be on this machine, so four places are asked, in this order:

1. the folder that the caller names. Only there: whoever names a folder wants that data or an
   error, not a silent download of something else;
2. the folder in the environment variable ``SCRATCHVAE_DATA``;
3. the cache, where an earlier download left them;
4. the mirrors on the internet.

In a folder F, the files may lie in ``F/mnist/`` or in F itself.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .download import fetch
from .idx import read_idx
from .sources import FILES, SOURCES


class DataNotFound(OSError):
    """The files are nowhere on this machine and no mirror could deliver them."""


def find_files(dataset: str, data_dir: str | os.PathLike[str] | None = None) -> dict[str, Path]:
    """Find the four files of a data set, downloading them if need be.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
        Which one.
    data_dir : str or path-like, optional
        Look in this folder and nowhere else.

    Returns
    -------
    dict of str to Path
        The file for each of ``"train_images"``, ``"train_labels"``, ``"test_images"`` and
        ``"test_labels"``. All four lie in one folder.

    Raises
    ------
    ValueError
        If `dataset` is neither name.
    FileNotFoundError
        If `data_dir` is given and the files are not all there; names the missing ones.
    DataNotFound
        If they are found nowhere. The message tells what was tried and where to put the files.
    """
    if dataset not in SOURCES:
        raise ValueError(f"expected a dataset among {', '.join(SOURCES)}; found {dataset!r}")
    if data_dir is not None:
        folder = Path(data_dir).expanduser()
        found, problem = _look(folder, dataset)
        if found is None:
            raise FileNotFoundError(f"{dataset} is not in {folder}: {problem}")
        return found

    found, tried = find_on_disk(dataset)
    return found if found is not None else download_files(dataset, tried)


def find_on_disk(dataset: str) -> tuple[dict[str, Path] | None, list[str]]:
    """Look for the files where they may be without a download.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
        Which one.

    Returns
    -------
    files : dict of str to Path, or None
        As from `find_files`.
    tried : list of str
        The places without the files, and what is missing there, in plain words.
    """
    tried: list[str] = []
    if named := os.environ.get("SCRATCHVAE_DATA"):
        found, problem = _try(named, dataset)
        if found is not None:
            return found, tried
        tried.append(f"$SCRATCHVAE_DATA = {named}: {problem}")
    else:
        tried.append("$SCRATCHVAE_DATA: not set")
    try:
        cache = cache_folder() / dataset
    except RuntimeError as error:
        return None, [*tried, f"the cache: {error}"]
    found, problem = _try(cache, dataset)
    return found, [*tried, f"{cache}: {problem}"] if found is None else tried


def download_files(dataset: str, tried: Sequence[str] = ()) -> dict[str, Path]:
    """Bring the files into the cache, as far as they are not there; each is checked by its hash.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
        Which one.
    tried : sequence of str
        Where they were looked for before, for the message.

    Returns
    -------
    dict of str to Path
        As from `find_files`.

    Raises
    ------
    DataNotFound
        If no mirror could deliver them.
    """
    try:
        cache = cache_folder() / dataset
    except RuntimeError:  # no home directory, nowhere to download to
        raise DataNotFound(_advice(dataset, [*tried], None)) from None
    failures = fetch(SOURCES[dataset], cache)
    found, _ = _try(cache, dataset)
    if found is None:
        raise DataNotFound(_advice(dataset, [*tried, *failures], cache))
    return found


def cache_folder() -> Path:
    """The user's cache folder for all data sets; RuntimeError without a home directory."""
    import pooch  # here, for `import scratchvae` to stay fast

    return Path(pooch.os_cache("scratchvae"))


def load_mnist(dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Find, read and check MNIST or Fashion-MNIST.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist"}
        Which one.
    data_dir : str or path-like, optional
        Look in this folder and nowhere else.

    Returns
    -------
    Dataset
        Pictures (N, 28, 28) and labels (N,), all uint8.

    Raises
    ------
    ValueError
        If a file is damaged, or the files do not fit together; names the file.
    OSError
        If the files cannot be found (see `find_files`) or read.
    """
    paths = find_files(dataset, data_dir)
    arrays: dict[str, NDArray[np.uint8]] = {
        field: read_idx(path, expected_ndim=3 if field.endswith("images") else 1)
        for field, path in paths.items()
    }
    for part in ("train", "test"):
        images, labels = arrays[f"{part}_images"], arrays[f"{part}_labels"]
        image_path, label_path = paths[f"{part}_images"], paths[f"{part}_labels"]
        if images.shape[1:] != (28, 28):
            height, width = images.shape[1:]
            raise ValueError(f"{image_path}: expected images of 28 x 28, found {height} x {width}")
        if len(labels) != len(images):
            raise ValueError(
                f"{label_path}: expected {len(images)} labels, one for each image in "
                f"{image_path.name}, found {len(labels)}"
            )
        if labels.max() > 9:
            raise ValueError(f"{label_path}: expected labels from 0 to 9, found {labels.max()}")
    return Dataset(name=dataset, **arrays)


def _look(folder: Path, dataset: str) -> tuple[dict[str, Path] | None, str]:
    """Return the four files, or None and, in plain words, what is missing."""
    if not folder.is_dir():
        return None, "there is no such folder"
    # The folder with the set's own name first. And a folder with the *other* set's name is not
    # looked into: the file names are the same, and nobody would notice the shoes.
    candidates = [folder / dataset]
    if folder.name not in SOURCES.keys() - {dataset}:
        candidates.append(folder)
    fewest = list(FILES.values())
    for candidate in candidates:
        # All from one folder, lest the labels of one set meet the pictures of another.
        files = {field: _spelled(candidate, name) for field, name in FILES.items()}
        missing = [FILES[field] for field, path in files.items() if path is None]
        if not missing:
            return {field: path for field, path in files.items() if path is not None}, ""
        fewest = min(fewest, missing, key=len)
    if len(fewest) == len(FILES):
        return None, f"none of the four files is there ({', '.join(fewest)})"
    return None, f"missing {', '.join(fewest)}"


def _try(folder: str | Path, dataset: str) -> tuple[dict[str, Path] | None, str]:
    """As _look; a folder that cannot be looked into is one without the files, not an error."""
    try:
        return _look(Path(folder).expanduser(), dataset)
    except OSError as error:
        return None, f"cannot be looked into ({os.strerror(error.errno or 0)})"
    except RuntimeError as error:  # ~nobody
        return None, str(error)


def _spelled(folder: Path, name: str) -> Path | None:
    """Find a file under the names in use: with and without .gz, train-images.idx3-ubyte."""
    plain = name.removesuffix(".gz")
    dotted = plain.replace("-idx", ".idx")
    spellings = (name, plain, f"{dotted}.gz", dotted)
    return next((folder / s for s in spellings if (folder / s).is_file()), None)


def _advice(dataset: str, tried: list[str], cache: Path | None) -> str:
    lines = [f"{dataset} is not on this machine and could not be downloaded. Tried:"]
    lines += [f"  - {attempt}" for attempt in tried]
    lines += [f"Put these four files, as they are or unpacked, into {cache}"] if cache else []
    lines += [
        f"{'or' if cache else 'Put these four files'} into a folder that you name with "
        "--data-dir or $SCRATCHVAE_DATA:",
    ]
    lines += [f"  - {name}" for name in FILES.values()]
    return "\n".join(lines)
