"""Data sets of images: MNIST and sets in its format, CIFAR-10, CelebA, folders, arrays, drawn ones.

Reading order: dataset; sources, mnist, idx, cifar; arrays; options, images, decode, cache; glyphs;
faces, portraits; batches.
"""

import os
from collections.abc import Callable
from functools import partial
from typing import Any

from ..output import note
from . import decode, faces, glyphs
from .arrays import load_arrays
from .batches import batches, binarize, is_binary
from .cifar import load_cifar10
from .dataset import Dataset, doubts_about, fit, spread
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
    "image_options",
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
    "made_with",
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
    image_size, grey, crop, background, value_range
        See `image_options`. Default: the images as they are; those of files in colour, 64 x 64.
        background is for image files, value_range for image files and arrays.
    split, say
        As for `load_folder`.

    Returns
    -------
    Dataset
        Images of uint8 for training and test: (N, H, W) or (N, C, H, W).

    Raises
    ------
    ValueError
        If there is no such data set, a file is damaged, or an option is invalid.
    FileNotFoundError
        If `data_dir` is given and the files are not in it, or there is no CelebA or no FOLDER.
    DataNotFound
        If the files are not on this machine and cannot be downloaded.
    """
    kind, _, path = dataset.partition(":")
    if dataset not in DATASETS[:-2] and kind not in ("images", "arrays"):
        raise ValueError(f"unknown data set {dataset!r}; choose from {', '.join(DATASETS)}")
    asked: Any = {"image_size": image_size, "grey": grey, "crop": crop}
    asked |= {"background": background, "value_range": value_range}
    if dataset == "celeba" or (kind == "images" and path and find_celeba(path)[0]):
        folder = path or data_dir or os.environ.get("SCRATCHVAE_DATA", ".")
        return load_celeba(folder, say=say, **asked)
    if kind == "images":
        return load_folder(path, split=split, say=say, **asked)
    options = image_options(**asked)
    if options.background is not None:
        raise ValueError(f"background: expected image files, got {dataset}: leave background out")
    if kind == "arrays":
        data = load_arrays(path, options.value_range, say)
        for line in doubts_about(data.train_images):
            say(f"warning: {data.name}: {line}")
        return fit(data, options._replace(value_range=None))
    if options.value_range is not None:
        raise ValueError(
            f"value_range: expected images: or arrays:, got {dataset}, whose values are known: "
            "leave value_range out"
        )
    loaders: dict[str, Callable[[], Dataset]] = {
        "glyphs": load_glyphs,
        "faces": load_faces,
        "cifar10": partial(load_cifar10, data_dir),
    }
    return fit(loaders.get(dataset, partial(load_mnist, dataset, data_dir))(), options)


def made_with(dataset: str, **images: Any) -> dict[str, str]:
    """The libraries, by name, whose versions decide the pixels of a data set.

    Parameters
    ----------
    dataset : str
        As for `load`.
    **images
        As for `load`: Pillow resizes images, makes them grey and crops them.

    Returns
    -------
    dict of str to str
        Versions; of the fonts of the glyphs a digest. Empty if no library decides.

    Raises
    ------
    ModuleNotFoundError, FileNotFoundError
        As `load_glyphs`.
    """
    kind = dataset.partition(":")[0]
    if kind in ("images", "celeba"):
        return decode.made_with()
    found = {"glyphs": glyphs.made_with, "faces": faces.made_with}.get(kind, dict)()
    if any(images.get(name) for name in ("image_size", "grey", "crop")):
        found["Pillow"] = decode.made_with()["Pillow"]
    return found


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
        note(f"Using digits drawn from fonts (glyphs) instead: {error}")
        return load_glyphs()
