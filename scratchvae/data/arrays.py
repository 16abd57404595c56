"""Images in NumPy's files: one array in a .npy, several in a .npz. Pickled objects are never read.

Arrays are read in blocks of rows, so memory holds the result and one block. The header of an array
in a .npz is checked before anything is unpacked: a small file may unpack to any size.
"""

import errno
import io
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..output import note, open_file
from .dataset import MAX_HEADER, Dataset, spread

TEST_SHARE = 0.1
BLOCK = 1 << 20  # values converted at a time
MAX_VALUES = 1 << 32  # of an array in a .npz; dSprites has 3.0e9
KEYS = {  # in files of Keras and of MedMNIST, in small letters
    "train_images": ("x_train", "train_images"),
    "train_labels": ("y_train", "train_labels"),
    "validation_images": ("x_val", "val_images"),
    "validation_labels": ("y_val", "val_labels"),
    "test_images": ("x_test", "test_images"),
    "test_labels": ("y_test", "test_labels"),
}
LABELS = ("y", "label", "labels", "target", "targets")


class Stored(NamedTuple):
    """An array in a file: what its header says, and its rows in blocks."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    blocks: Callable[[], Iterator[NDArray[Any]]]

    def __str__(self) -> str:
        return f"{self.key or 'an array'} {self.shape} {self.dtype}"


def load_arrays(
    file: str | os.PathLike[str],
    value_range: tuple[float, float] | None = None,
    say: Callable[[str], None] = note,
) -> Dataset:
    """Load images from a .npy or .npz file.

    Parameters
    ----------
    file : str or path-like
        "FILE.npy", "FILE.npz", or "FILE.npz:KEY" for the array KEY. Without KEY, a .npz has either
        x_train and x_test (Keras) or train_images and test_images (MedMNIST), or one array of
        images, as in dSprites. Images: (N, H, W), (N, H, W, C) or (N, C, H, W) with C = 1 or 3.
    value_range : (black, white), optional
        The values of black and white. Required unless the images are uint8 or bool.
    say : callable
        Receives a line if test images are also training images, or labels are left out.

    Returns
    -------
    Dataset
        Images (N, H, W) or (N, 3, H, W). Without test images in the file, a tenth of the images,
        spread across the array. Labels, if the file has one integer for each image.

    Raises
    ------
    ValueError
        If the file is damaged, or its arrays are not as above; in one line.
    OSError
        If the file cannot be opened or read.
    """
    path, key = split_key(file)
    name = f"arrays:{path.name}" + (f":{key}" if key else "")
    try:
        with ExitStack() as stack:
            stored = _open(path, stack)
            images = stored.get("imgs")
            if "latents_classes" in stored and images and images.dtype == np.uint8:
                value_range = value_range or (0, 1)  # dSprites
            parts = _choose(stored, key)
            return _load(name, parts, value_range, say)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything
        if isinstance(error, OSError) and error.errno != errno.EINVAL:
            raise  # EINVAL: an offset in a damaged zip file is negative
        lines = str(error).splitlines() or [type(error).__name__]
        raise ValueError(f"{path}: {lines[0][:1500]}") from None  # zipfile may quote 64 kB


def split_key(file: str | os.PathLike[str]) -> tuple[Path, str | None]:
    """The path and the key in "FILE.npz:KEY"; other names have no key."""
    found = re.fullmatch(r"(.*\.npz):(.+)", str(file), re.IGNORECASE | re.DOTALL)
    path, key = (found[1], found[2]) if found else (file, None)
    return Path(path).expanduser(), key


def _load(
    name: str,
    parts: Mapping[str, Stored],
    value_range: tuple[float, float] | None,
    say: Callable[[str], None],
) -> Dataset:
    arrays: dict[str, Any] = {}
    split = "test_images" in parts
    for field, stored in parts.items():
        if field.endswith("images") and stored.dtype.kind not in "buif":
            raise ValueError(
                f"expected images of numbers, found {stored} (objects are never unpickled)"
            )
        total = stored.shape[0] if stored.shape else 0
        test = spread(0 if split else round(TEST_SHARE * total) or 1, total)
        order = np.append(np.delete(np.arange(total), test), test)
        if field.endswith("images"):
            if len(test) == total or 0 in stored.shape:
                raise ValueError(f"expected at least 2 images with pixels, found {stored}")
            whole: NDArray[Any] = _images(stored, value_range, order)
        elif stored.dtype.kind in "iu" and math.prod(stored.shape) == total:
            whole = np.concatenate([*stored.blocks()]).reshape(-1)[order]
        else:
            say(f"warning: {name}: labels left out: {stored} is not an integer for each image")
            continue
        arrays[field] = whole[: total - len(test)]
        if not split:
            arrays[field.replace("train", "test")] = whole[total - len(test) :]
    shapes = {array.shape[1:] for field, array in arrays.items() if field.endswith("images")}
    if len(shapes) > 1:
        raise ValueError(f"expected images of one shape, found {' and '.join(map(str, shapes))}")
    for part in ("train", "validation", "test"):
        count = len(arrays.get(f"{part}_images", ()))
        if len(arrays.get(f"{part}_labels", range(count))) != count:
            raise ValueError(f"expected {count} labels in {parts[f'{part}_labels']}")
    if split:
        train = {hash(image.tobytes()) for image in arrays["train_images"]}
        twice = sum(hash(image.tobytes()) in train for image in arrays["test_images"])
        if twice:
            of = f"{twice:,} of {len(arrays['test_images']):,} test images"
            say(f"warning: {name}: {of} are training images, too: the model has seen them")
    return Dataset(name, **arrays)


def _choose(stored: Mapping[str, Stored], key: str | None) -> dict[str, Stored]:
    """The arrays that become the fields of the Dataset."""
    small = {name.lower(): array for name, array in stored.items()}
    parts = {f: small[name] for f, names in KEYS.items() for name in names if name in small}
    if key is None and {"train_images", "test_images"} <= parts.keys():
        return parts
    images = [array for array in stored.values() if len(array.shape) in (3, 4)]
    if key is not None or len(stored) == 1:
        images = [array for name, array in stored.items() if key in (None, name)]
    if len(images) != 1:
        wanted = f"the key {key}" if key else "one array of images"
        listed = "; ".join(str(array) for array in stored.values()) or "nothing"
        raise ValueError(
            f"expected {wanted}, found {listed[:1000]}: name the array as arrays:FILE.npz:KEY"
        )
    N = images[0].shape[:1]
    fit = [s for s in stored.values() if s.dtype.kind in "iu" and s.shape in (N, (*N, 1))]
    named = [array for array in stored.values() if array.key.lower() in LABELS]
    labels = named or fit
    if len(labels) == 1:
        return {"train_images": images[0], "train_labels": labels[0]}
    return {"train_images": images[0]}


def _images(
    stored: Stored, value_range: tuple[float, float] | None, order: NDArray[np.int64]
) -> NDArray[np.uint8]:
    """The images as bytes, (N, H, W) or (N, 3, H, W), in the order given."""
    if stored.dtype == bool:
        value_range = value_range or (0, 1)
    if stored.dtype != np.uint8 and value_range is None:
        raise ValueError(
            f"{_extremes(stored)}: give those of black and white with --value-range BLACK,WHITE "
            "(value_range=(black, white))"
        )
    axis = _channel_axis(stored)
    row = [size for number, size in enumerate(stored.shape[1:], 1) if number != axis]
    if axis is not None and stored.shape[axis] == 3:
        row.insert(0, 3)
    images = np.empty((len(order), *row), np.uint8)
    rows, start = np.argsort(order), 0  # which row of the result each image becomes
    for block in stored.blocks():
        if value_range is not None:
            block = _scale(block, *value_range, stored)
        block = (block if axis is None else np.moveaxis(block, axis, 1)).reshape(-1, *row)
        images[rows[start : start + len(block)]] = block
        start += len(block)
    if start != len(images):
        raise ValueError(f"damaged array: expected {len(images)} images, found {start}")
    return images


def _channel_axis(stored: Stored) -> int | None:
    """The axis of the channels, or None for (N, H, W); ValueError for other or doubtful shapes."""
    shape, why = stored.shape, ""
    if len(shape) == 3 and shape[2] > 4:
        return None
    if len(shape) == 4:
        axes = [axis for axis in (1, 3) if shape[axis] in (1, 3)]
        if len(axes) == 1:
            return axes[0]
        why = ": C may be the second or the last axis" if axes else ""
        if 4 in (shape[1], shape[3]):
            why = ": blend the fourth channel, alpha, with a background first"
    elif len(shape) == 3:
        why = ": for one image, or images with C = 1, add an axis"
    elif len(shape) == 2:
        why = ": reshape each row to height and width"
    raise ValueError(
        f"expected images (N, H, W), (N, H, W, C) or (N, C, H, W), C = 1 or 3, found {stored}{why}"
    )


def _scale(block: NDArray[Any], black: float, white: float, stored: Stored) -> NDArray[np.uint8]:
    """The values from black to white as 0 to 255; ValueError if there are others, or NaN."""
    values, (low, high) = block.astype(np.float64), sorted((black, white))
    if not (low <= values.min() and values.max() <= high):
        raise ValueError(
            f"expected values within the value_range {black, white}, but {_extremes(stored)}"
        )
    return np.rint((values - black) / (white - black) * 255).astype(np.uint8)


def _extremes(stored: Stored) -> str:
    """A sentence about the smallest and the largest value of an array, and how many are NaN."""
    low, high, nan = math.inf, -math.inf, 0
    for block in stored.blocks():
        low = min(low, float(np.fmin.reduce(block, axis=None)))  # fmin and fmax skip NaN
        high = max(high, float(np.fmax.reduce(block, axis=None)))
        nan += int(np.isnan(block).sum())
    return f"{stored} has values from {low:.9g} to {high:.9g}{f' and {nan} NaN' if nan else ''}"


def _open(path: Path, stack: ExitStack) -> dict[str, Stored]:
    """The arrays in a file, by their keys; the file of a .npz stays open until `stack` closes."""
    raw = stack.enter_context(open_file(path, math.inf))
    magic = raw.read(6)
    if magic == npy.MAGIC_PREFIX:
        return {"": _stored("", partial(open_file, path, math.inf), os.fstat(raw.fileno()).st_size)}
    if not magic.startswith(b"PK"):
        raise ValueError(f"expected a .npy or .npz file of NumPy, found the bytes {magic!r}")
    archive = stack.enter_context(zipfile.ZipFile(raw))
    members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
    stored = [_stored(i.filename[:-4], partial(archive.open, i), i.file_size) for i in members]
    for array in stored:
        if math.prod(array.shape) > MAX_VALUES:
            raise ValueError(f"expected at most {MAX_VALUES} values, found {array}")
    return {array.key: array for array in stored}


def _stored(key: str, reopen: Callable[[], IO[bytes]], file_size: int) -> Stored:
    """The array in a .npy file; ValueError if its header is damaged or fits another size."""
    with reopen() as stream:
        start = io.BytesIO(stream.read(MAX_HEADER))  # a header may say that it has 2 GB
    try:
        version = npy.read_magic(start)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran_order, dtype = read(start)
    except Exception as error:  # for 200 brackets, Python's parser raises MemoryError
        raise ValueError(f"damaged array: no valid header: {str(error)[:100]!r}") from None
    size, found = math.prod(shape) * dtype.itemsize, file_size - start.tell()
    if size != found and not dtype.hasobject:
        raise ValueError(f"damaged array: expected {size} bytes for {shape} {dtype}, found {found}")
    rows = max(1, BLOCK // max(1, math.prod(shape[1:])))

    def blocks() -> Iterator[NDArray[Any]]:
        with reopen() as stream:
            stream.read(start.tell())
            if fortran_order:  # the first image ends with the last byte
                whole = np.frombuffer(stream.read(), dtype).reshape(shape, order="F")
                yield from (whole[i : i + rows] for i in range(0, len(whole), rows))
            else:
                row = math.prod(shape[1:]) * dtype.itemsize
                while content := stream.read(rows * row):
                    yield np.frombuffer(content, dtype).reshape(-1, *shape[1:])

    return Stored(key, shape, dtype, blocks)
