"""Data sets of images: MNIST, Fashion-MNIST, CelebA, any folder, drawn digits and faces.

Reading order: dataset; mnist, idx; glyphs; images, decode, pixel_cache; faces, portraits; batches.
"""

import os
import sys
from collections.abc import Callable
from typing import Any

from ..output import note
from .arrays import load_arrays
from .batches import batches, binarize, is_binary
from .cifar import load_cifar10
from .dataset import Dataset, fit, spread
from .faces import load_faces
from .glyphs import load_glyphs
from .idx import read_idx
from .images import find_celeba, load_celeba, load_folder
from .mnist import load_mnist
from .options import image_options
from .sources import SOURCES, DataNotFound, find_files

__all__ = [
    "DATASETS",
    "DataNotFound",
    "Dataset",
    "batches",
    "binarize",
    "find_files",
    "is_binary",
    "load",
    "load_arrays",
    "load_celeba",
    "load_cifar10",
    "load_faces",
    "load_folder",
    "load_glyphs",
    "load_mnist",
    "load_or_glyphs",
    "read_idx",
    "spread",
]

DATASETS = (*SOURCES, "glyphs", "celeba", "faces", "images:FOLDER", "arrays:FILE")


def load(
    dataset: str = "mnist",
    data_dir: str | os.PathLike[str] | None = None,
    *,
    image_size: int | str | tuple[int, int] | None = None,
    grey: bool = False,
    crop: str | int | None = None,
    background: str | tuple[int, int, int] | None = None,
    value_range: str | tuple[float, float] | None = None,
    split: str = "spread",
    say: Callable[[str], None] = note,
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    dataset : str
        One of DATASETS. images:FOLDER is any folder of pictures; one with ``img_align_celeba/`` is
        CelebA. arrays:FILE is a .npy or .npz file of NumPy, see `load_arrays`.
    data_dir : str or path-like, optional
        Look only in this folder. Default: ``$SCRATCHVAE_DATA``, the cache, then the internet; for
        CelebA ``$SCRATCHVAE_DATA`` or the current folder. The other data sets ignore it.

    Returns
    -------
    Dataset
        Images of uint8 for training and test: (N, 28, 28), with labels, or (N, 3, 64, 64) without.

    Raises
    ------
    ValueError
        If there is no such data set, or a file is damaged.
    FileNotFoundError
        If `data_dir` is given and the files are not in it, or there is no CelebA or no FOLDER.
    DataNotFound
        If the files are not on this machine and cannot be downloaded.
    """
    asked: Any = {"image_size": image_size, "grey": grey, "crop": crop}
    asked |= {"background": background, "value_range": value_range}
    if dataset.startswith("images:"):
        folder = dataset.removeprefix("images:")
        if folder and find_celeba(folder):
            return load_celeba(folder, say=say, **asked)
        return load_folder(folder, split=split, say=say, **asked)
    arrays = dataset.startswith("arrays:")
    if dataset not in DATASETS and not arrays:
        raise ValueError(f"unknown data set {dataset!r}; choose from {', '.join(DATASETS)}")
    if dataset == "celeba":
        return load_celeba(data_dir or os.environ.get("SCRATCHVAE_DATA", "."), say=say, **asked)
    options = image_options(**asked)
    if options.background or (options.value_range and not arrays):
        raise ValueError(
            f"{'background' if options.background else 'value_range'} does not apply to {dataset}"
        )
    if arrays:
        file = dataset.removeprefix("arrays:")
        images = load_arrays(file, options.value_range, say)
        return fit(images, options._replace(value_range=None))
    if dataset == "glyphs":
        return fit(load_glyphs(), options)
    if dataset == "faces":
        return fit(load_faces(), options)
    if dataset == "cifar10":
        return fit(load_cifar10(data_dir), options)
    return fit(load_mnist(dataset, data_dir), options)


def load_or_glyphs(
    dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None
) -> Dataset:
    """Load a data set as `load` does, or the glyphs if it cannot be found or downloaded.

    Parameters
    ----------
    dataset, data_dir
        As for `load`.

    Returns
    -------
    Dataset
        Named ``"glyphs"`` if they replace it; then a message on stderr gives the reason.

    Raises
    ------
    ValueError, OSError
        As for `load`, except DataNotFound.
    """
    try:
        return load(dataset, data_dir)
    except DataNotFound as error:
        print(f"Using digits drawn from fonts (glyphs) instead: {error}", file=sys.stderr)
        return load_glyphs()
