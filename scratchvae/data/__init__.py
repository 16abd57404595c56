"""Pictures to learn from: MNIST, Fashion-MNIST, and digits drawn on the spot.

In reading order: `idx` parses the file format, `mnist` finds the files (`sources` knows where they
are on the internet, `download` fetches them), `drawing` and `glyphs` make digits when there are
none, `batches` turns bytes into batches of floats.
"""

import os
import sys

from .batches import WeightedMean, batches
from .dataset import Dataset
from .glyphs import load_glyphs
from .idx import read_idx
from .mnist import DataNotFound, find_files, load_mnist

__all__ = [
    "DATASETS",
    "DataNotFound",
    "Dataset",
    "WeightedMean",
    "batches",
    "find_files",
    "load",
    "load_glyphs",
    "load_mnist",
    "load_or_glyphs",
    "read_idx",
]

DATASETS = ("mnist", "fashion-mnist", "glyphs")


def load(dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    dataset : {"mnist", "fashion-mnist", "glyphs"}
        Which one.
    data_dir : str or path-like, optional
        Look for the files in this folder and nowhere else. By default: the folder in
        ``$SCRATCHVAE_DATA``, then the cache, then the internet. The glyphs have no files.

    Returns
    -------
    Dataset
        Images (N, 28, 28) and labels (N,) for training and test, all uint8.

    Raises
    ------
    ValueError
        If there is no such data set, or one of its files is damaged.
    FileNotFoundError
        If `data_dir` is given and the files are not there.
    DataNotFound
        If the files are nowhere on this machine and cannot be downloaded.
    """
    if dataset not in DATASETS:
        raise ValueError(f"expected a dataset among {', '.join(DATASETS)}; found {dataset!r}")
    if dataset == "glyphs":
        return load_glyphs()
    return load_mnist(dataset, data_dir)


def load_or_glyphs(
    dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load a data set, or the glyphs where it is out of reach, saying so on stderr.

    Only absence leads to the glyphs. A damaged file, or a `data_dir` without the files, is an
    error here as in `load`: nobody should train on other data than asked for by mistake.

    Parameters
    ----------
    dataset, data_dir
        As for `load`.

    Returns
    -------
    Dataset
        Look at its `name` to know which.
    """
    try:
        return load(dataset, data_dir)
    except DataNotFound as error:
        print(f"Going on with digits drawn from fonts (glyphs): {error}", file=sys.stderr)
        return load_glyphs()
