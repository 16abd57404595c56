"""Batches of floats from images of bytes.

The range of the floats must match the decoder's last layer: (0, 1) for a sigmoid, (-1, 1) for a
tanh. A wrong range raises no error but trains worse; so every model has a `data_range`.

`binarize` turns grey levels into black and white. The cross-entropy treats a grey level as a
probability. This trains well, but the result is not a likelihood of the grey image (docs/elbo.md,
section 3). Likelihoods of MNIST in the literature are those of binary images, drawn once ("static")
or again in every epoch ("dynamic").

Sources: Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks" (ICML 2008);
Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519), section 5.
"""

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import accelerated

WHITE = np.uint8(255)
PART = 1 << 26  # pixels that are binarized at a time; more need more memory
REMEDIES = {  # how to convert images, by the kind of their dtype
    "f": "np.rint(255 * images).astype('uint8') if they lie in 0 to 1",
    "b": "255 * images.astype('uint8')",
}


def batches(
    images: NDArray[np.uint8],
    batch_size: int,
    rng: np.random.Generator | None = None,
    data_range: tuple[float, float] = (0.0, 1.0),
    dtype: DTypeLike = "float32",
    chosen: NDArray[np.integer] | None = None,
) -> Iterator[NDArray[Any]]:
    """Cut the images into batches of floats, each image once; the last batch may be smaller.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W) or (N, C, H, W)
    batch_size : int
    rng : numpy.random.Generator, optional
        Draws one permutation, when `batches` is called. By default the images come in order.
    data_range : (low, high)
        The floats for the bytes 0 and 255.
    dtype : dtype
        A floating type.
    chosen : ndarray of integers, optional
        Indices of the images to use. By default all.

    Returns
    -------
    iterator of ndarray, shape (B, C, H, W), B <= batch_size
        Each a new array.

    Raises
    ------
    TypeError
        If `images` is not uint8, `dtype` is not floating, or `batch_size` is not an integer.
    ValueError
        If `images` has another rank or is empty, `batch_size` < 1, or not low < high.
    """
    check_images("batches", images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"batches: expected images of shape (N, H, W) or (N, C, H, W), found {images.shape}"
        )
    if isinstance(batch_size, bool) or not isinstance(batch_size, Integral):
        raise TypeError(f"batches: batch_size: expected an int, found {batch_size!r}")
    if batch_size < 1:
        raise ValueError(f"batches: batch_size: expected at least 1, found {batch_size}")
    dtype = np.dtype(dtype)
    if not np.issubdtype(dtype, np.floating):
        raise TypeError(f"batches: expected a floating dtype, found {dtype}")
    low, high = map(float, data_range)
    if not low < high:
        raise ValueError(f"batches: expected a data_range with low < high, found {data_range}")
    chosen = np.arange(len(images)) if chosen is None else chosen
    order = chosen if rng is None else chosen[rng.permutation(len(chosen))]
    if images.ndim == 3:
        images = images[:, None]  # (N, 1, H, W)
    levels = np.arange(256, dtype=dtype) / dtype.type(255)  # a division: 255 becomes exactly 1
    if (low, high) != (0.0, 1.0):  # unlike low + (high - low) x, this is exact at both ends
        levels = (low * (1 - levels) + high * levels).astype(dtype, copy=False)
    # A generator expression, since `yield` would postpone all checks and draws to the first batch.
    starts = range(0, len(order), batch_size)
    return (look_up(images, order[i : i + batch_size], levels) for i in starts)  # (B, C, H, W)


@accelerated
def look_up(images, chosen, levels):
    """levels[images[chosen]]: each of the 256 byte values is scaled only once."""
    return levels[images[chosen]]


def binarize(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a black-and-white version of the images.

    Parameters
    ----------
    images : uint8 array of any shape
    rng : Generator

    Returns
    -------
    uint8 array of the same shape
        255 with probability byte / 255, otherwise 0.

    Raises
    ------
    TypeError, ValueError
        If `images` is not uint8, or is empty.
    """
    check_images("binarize", images)
    drawn = np.empty(images.shape, np.uint8)
    for part in _parts(images):
        # 255 numbers, 0 to 254, of which `byte` are less than byte: the probability is exact
        drawn[part] = rng.integers(0, 255, images[part].shape, np.uint8)
        drawn[part] = drawn[part] < images[part]
        drawn[part] *= WHITE
    return drawn


def is_binary(images: NDArray[np.uint8]) -> bool:
    """Whether all pixels are 0 or 255.

    Parameters
    ----------
    images : uint8 array of any shape

    Returns
    -------
    bool

    Raises
    ------
    TypeError, ValueError
        If `images` is not uint8, or is empty.
    """
    check_images("is_binary", images)
    return all(((x == 0) | (x == WHITE)).all() for x in map(images.__getitem__, _parts(images)))


def _parts(images: NDArray[np.uint8]) -> list[Any]:
    """Indices that select all images in parts of at most PART pixels, or of one image."""
    if images.size <= PART:
        return [...]
    count = max(1, PART // images[0].size)
    return [slice(start, start + count) for start in range(0, len(images), count)]


def check_images(name: str, images: Any) -> None:
    """Raise an error, which says how to convert them, unless `images` are bytes; or without any."""
    if not isinstance(images, np.ndarray):
        raise TypeError(
            f"{name}: expected images of uint8 in a NumPy array, found {type(images).__name__}"
        )
    if images.dtype != np.uint8:
        remedy = REMEDIES.get(images.dtype.kind, "images.astype('uint8') if they lie in 0 to 255")
        raise TypeError(
            f"{name}: expected images of uint8, found {images.dtype}: convert them with {remedy}"
        )
    if images.size == 0:
        raise ValueError(f"{name}: expected at least one image, found shape {images.shape}")
