"""Data sets; drawn ones are cached in a file named after everything that determines a pixel.

A damaged file is drawn again. Without a writable cache, the images are drawn every time.
"""

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ..output import cache_folder, whole_file
from .decode import render
from .options import ImageOptions

ROWS = 1024  # images in work at a time
DARK = 16  # of 255: the brightest pixel of images that look black
MAX_HEADER = 1 << 14  # bytes in front of an array, NumPy's limit
Arrays = dict[str, NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Images, in memory or mapped from disk; training needs neither labels nor names.

    Attributes
    ----------
    name : str
        As for `load`, but with only the last part of FOLDER or FILE.
    train_images, test_images : ndarray of uint8, shape (N, H, W) or (N, C, H, W)
        Grey or in colour; black is 0 and white is 255.
    train_labels, test_labels : ndarray of integers, shape (N,), or None
        A class for each image, or None for a data set without classes.
    validation_images : ndarray of uint8, shaped as the others, or None
        The user's own validation images, as from a folder ``val/`` beside ``train/`` and ``test/``.
    train_names, test_names : sequence of str or None
        The files of the images, relative to the folder.
    classes : sequence of str or None
        The name of each label, if it is not the number itself.
    validation_labels, validation_names
        As those for training.
    """

    name: str
    train_images: NDArray[np.uint8]
    test_images: NDArray[np.uint8]
    train_labels: NDArray[np.integer] | None = None
    test_labels: NDArray[np.integer] | None = None
    validation_images: NDArray[np.uint8] | None = None
    train_names: Sequence[str] | None = None
    test_names: Sequence[str] | None = None
    classes: Sequence[str] | None = None
    validation_labels: NDArray[np.integer] | None = None
    validation_names: Sequence[str] | None = None

    def digest(self) -> str:
        """SHA-256 of dtype, shape and bytes of all images, without labels and name."""
        digest = hashlib.sha256()
        for images in (self.train_images, self.test_images, self.validation_images):
            if images is None:  # as in every run before there were any
                continue
            digest.update(repr((str(images.dtype), images.shape)).encode())
            for start in range(0, len(images), ROWS):  # a memmap may be larger than the memory
                digest.update(np.ascontiguousarray(images[start : start + ROWS]).data)
        return digest.hexdigest()


def spread(count: int, total: int) -> NDArray[np.int64]:
    """`count` of the indices below `total`, one from each of `count` equal stretches.

    A selection across a list that may be sorted by class. The position in each stretch is drawn
    with a fixed seed: with equal steps, every image could be the same frame of a film.

    Returns
    -------
    ndarray of int64, shape (min(count, total),)
        Ascending.
    """
    count = min(count, total)
    edges = np.arange(count + 1) * total // max(count, 1)
    return np.random.default_rng(0).integers(edges[:-1], edges[1:])


def brightest_and_flat(images: NDArray[np.uint8]) -> tuple[int, int]:
    """The brightest byte, and the number of images that have one single colour."""
    brightest = flat = 0
    for start in range(0, len(images), ROWS):  # a memmap may be larger than the memory
        rows = images[start : start + ROWS].reshape(len(images[start : start + ROWS]), -1)
        high, low = rows.max(axis=1), rows.min(axis=1)
        brightest, flat = max(brightest, int(high.max())), flat + int((high == low).sum())
    return brightest, flat


def doubts(brightest: int, flat: int, count: int) -> list[str]:
    """Sentences about images that look wrong, with the remedy; usually none."""
    if count and brightest <= DARK:
        one = count == 1
        images, look = ("the image", "it looks") if one else (f"all {count:,} images", "they look")
        return [
            f"the brightest pixel of {images} is {brightest} of 255: {look} black. "
            "Say which values are black and white: --value-range 0,1 for masks of 0 and 1, "
            "--value-range 0,4095 for 12 bits in 16-bit files (value_range in Python)"
        ]
    if 2 * flat > count:
        return [
            f"{flat:,} of {count:,} images have one single colour. If the shapes "
            "lie on a transparent ground, choose another --background, such as black"
        ]
    return []


def doubts_about(images: NDArray[np.uint8]) -> list[str]:
    """`doubts` about images in memory."""
    return doubts(*brightest_and_flat(images), len(images))


def fit(dataset: Dataset, options: ImageOptions) -> Dataset:
    """The data set with its images in the size and colours that `options` ask for."""
    validation = dataset.validation_images
    return replace(
        dataset,
        train_images=_fit(dataset.train_images, options),
        test_images=_fit(dataset.test_images, options),
        validation_images=None if validation is None else _fit(validation, options),
    )


def _fit(images: NDArray[np.uint8], options: ImageOptions) -> NDArray[np.uint8]:
    from PIL import Image

    pixels = images[:, None] if images.ndim == 3 else images  # (N, C, H, W)
    N, C, H, W = pixels.shape
    same = options.size in (None, "native", (H, W)) and not isinstance(options.crop, int)
    if same and (C == 1 or not options.grey):
        return images
    if isinstance(options.size, tuple):
        H, W = options.size
    elif isinstance(options.crop, int):
        H = W = min(H, W, options.crop)
    result = np.empty((N, 1 if options.grey else C, H, W), np.uint8)
    options = options._replace(size=(H, W), grey=options.grey or C == 1)
    for i in range(N):
        image = Image.fromarray(pixels[i, 0] if C == 1 else pixels[i].transpose(1, 2, 0))
        result[i] = render(image, options)
    return result


class Verdict(NamedTuple):
    """The verdict on a file of a data set."""

    path: Path
    verdict: str  # "ok", "damaged", "refused", "differs" from the original, or "unknown"
    why: str = ""


def drawn_dataset(
    name: str,
    draw: Callable[[int, np.random.Generator], Arrays],
    rows: dict[str, tuple[int, ...]],
    counts: tuple[int, int],
    seed: int,
    version: int,
    made_with: dict[str, str],
    cache_dir: str | os.PathLike[str] | None = None,
) -> Dataset:
    """Load a data set from the cache, or draw it and write it to the cache.

    ``draw(count, rng)`` returns a uint8 array of `count` rows for each entry of `rows`: the shape
    of a row of ``"images"`` and, with classes, of ``"labels"``. Training and test set, of sizes
    `counts`, have a generator each, spawned from `default_rng(seed)`: neither depends on the
    other's size. `version` is that of the drawing code; `made_with` has those of the libraries.
    """
    if min(counts) < 0:
        raise ValueError(f"{name}: expected counts >= 0, found {counts[0]} and {counts[1]}")
    train, test = counts
    shapes = {f"train_{key}": (train, *row) for key, row in rows.items()}
    shapes |= {f"test_{key}": (test, *row) for key, row in rows.items()}
    digest = hashlib.sha256(repr(made_with).encode()).hexdigest()[:12]
    path: Path | None = None
    arrays: Arrays | None = None
    with suppress(RuntimeError):  # no home directory, so no cache
        folder = cache_folder() / name if cache_dir is None else Path(cache_dir)
        path = folder / f"{name}-v{version}-seed{seed}-{train}-{test}-{digest}.npz"
        arrays = _read(path, shapes)
    if arrays is None:
        rng_train, rng_test = np.random.default_rng(seed).spawn(2)
        arrays = {f"train_{key}": array for key, array in draw(train, rng_train).items()}
        arrays |= {f"test_{key}": array for key, array in draw(test, rng_test).items()}
        if path is not None:
            with suppress(OSError):  # a full disk, a read-only home
                path.parent.mkdir(parents=True, exist_ok=True)
                with whole_file(path) as file:  # compressing is slower than drawing
                    np.savez(file, **cast(dict[str, Any], arrays))
    return Dataset(name, **cast(dict[str, Any], arrays))


def _read(path: Path, shapes: dict[str, tuple[int, ...]]) -> Arrays | None:
    """The arrays in a file, or None if they are not exactly those of `shapes`."""
    try:
        # Opened here, since np.load does not close a damaged file.
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            for field, shape in shapes.items():  # a small file may unpack to a large array
                if file.zip.getinfo(f"{field}.npy").file_size > math.prod(shape) + MAX_HEADER:
                    return None
            arrays = {field: file[field] for field in shapes}
    except Exception:  # a damaged zip file can raise nearly anything
        return None
    fits = all(arrays[f].shape == shapes[f] and arrays[f].dtype == np.uint8 for f in shapes)
    return arrays if fits else None
