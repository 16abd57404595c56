"""Images as bytes become batches of floats; the losses of batches become one mean.

The range of the floats depends on the decoder's last layer: a sigmoid answers in (0, 1), a tanh in
(-1, 1). A tanh that learns from data in [0, 1] still trains, only worse, and nothing reports it. So
the range is an argument here and a property of every model.

`binarize` turns grey levels into black and white. The cross-entropy takes a grey level for a
probability. This trains well, but the result is not a likelihood of the grey image (docs/elbo.md,
section 3). Likelihoods of MNIST in the literature are those of binary images, drawn once ("static")
or again in every epoch ("dynamic").

Sources: Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks" (ICML 2008);
Burda, Grosse & Salakhutdinov, "Importance weighted autoencoders" (arXiv:1509.00519), section 5.
"""

from collections.abc import Iterator
from numbers import Integral
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import accelerated

Means = TypeVar("Means", bound=tuple[Any, ...])
WHITE = np.uint8(255)


def batches(
    images: NDArray[np.uint8],
    batch_size: int,
    rng: np.random.Generator | None = None,
    data_range: tuple[float, float] = (0.0, 1.0),
    dtype: DTypeLike = "float32",
) -> Iterator[NDArray[Any]]:
    """Cut the images into batches of floats.

    Every image comes exactly once; the last batch holds what is left.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, H, W) or (N, C, H, W)
        Left unchanged.
    batch_size : int
        At least 1.
    rng : numpy.random.Generator, optional
        Draws one permutation, when `batches` is called. By default the images come in order.
    data_range : (low, high)
        Where the bytes 0 and 255 are sent.
    dtype : dtype
        A floating type, such as float32 or float64.

    Returns
    -------
    iterator of ndarray, shape (B, C, H, W), B <= batch_size
        Each a freshly allocated array: the caller may keep it or overwrite it.

    Raises
    ------
    TypeError
        If `images` is not uint8, `dtype` is not floating, or `batch_size` is not an integer.
    ValueError
        If `images` has another rank, `batch_size` < 1, or not low < high.
    """
    _check_bytes("batches", images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"batches: expected images of shape (N, H, W) or (N, C, H, W), found {images.shape}"
        )
    _check_count("batches: batch_size", batch_size)
    dtype = np.dtype(dtype)
    if not np.issubdtype(dtype, np.floating):
        raise TypeError(f"batches: expected a floating dtype, found {dtype}")
    low, high = map(float, data_range)
    if not low < high:
        raise ValueError(f"batches: expected a data_range with low < high, found {data_range}")
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    if images.ndim == 3:
        images = images[:, None]  # (N, 1, H, W)
    levels = np.arange(256, dtype=dtype) / dtype.type(255)  # a division: 255 becomes exactly 1
    if (low, high) != (0.0, 1.0):  # unlike low + (high - low) x, this is exact at both ends
        levels = (low * (1 - levels) + high * levels).astype(dtype, copy=False)
    # A generator expression, not `yield`: that would check and draw nothing until the first batch.
    starts = range(0, len(order), batch_size)
    return (look_up(images, order[i : i + batch_size], levels) for i in starts)  # (B, C, H, W)


@accelerated
def look_up(images, chosen, levels):
    """levels[images[chosen]]: a byte has 256 values, and each is scaled only once."""
    return levels[images[chosen]]


def binarize(images: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw a black-and-white version of images of uint8, of any shape, which stay unchanged.

    A byte becomes 255 with probability byte / 255, and 0 otherwise: 0 stays black and 255 white.
    `rng` gives one byte for each pixel.
    """
    _check_bytes("binarize", images)
    # 255 numbers, 0 to 254, of which `byte` are less than byte: the probability is exact
    white = rng.integers(0, 255, images.shape, np.uint8) < images
    return white * WHITE


def is_binary(images: NDArray[np.uint8]) -> bool:
    """Whether all pixels are 0 or 255. TypeError if `images` is not uint8."""
    _check_bytes("is_binary", images)
    return bool(((images == 0) | (images == WHITE)).all())


class WeightedMean(Generic[Means]):
    """The mean over all images, from the means over batches of unequal size.

    The last batch is usually smaller: 60,000 = 468 * 128 + 96. Its mean must weigh less.

    >>> from typing import NamedTuple
    >>> class Losses(NamedTuple):
    ...     total: float
    >>> mean = WeightedMean[Losses]()
    >>> mean.add(Losses(total=1.0), 3)
    >>> mean.add(Losses(total=5.0), 1)
    >>> mean.mean()
    Losses(total=2.0)
    """

    def __init__(self) -> None:
        self._kind: type[Means] | None = None
        self._sums: list[float] = []
        self._count = 0

    def add(self, values: Means, n: int) -> None:
        """Count `values`, means over `n` images: a tuple, of one type and length in all calls."""
        _check_count("WeightedMean: n", n)
        kind = type(values)
        if not isinstance(values, tuple) or self._kind not in (None, kind):
            expected = "tuple" if self._kind is None else self._kind.__name__
            raise TypeError(f"WeightedMean: expected a {expected}, found a {kind.__name__}")
        if self._kind is None:
            self._kind, self._sums = kind, [0.0] * len(values)
        if len(values) != len(self._sums):
            raise ValueError(
                f"WeightedMean: expected {len(self._sums)} values, found {len(values)}"
            )
        # float() first: in float32 the sum over 60,000 images would lose digits.
        self._sums = [a + float(b) * int(n) for a, b in zip(self._sums, values, strict=True)]
        self._count += int(n)

    def mean(self) -> Means:
        """The means over all images counted so far: Python floats, in a tuple of the same type."""
        if self._kind is None:
            raise ValueError("WeightedMean: expected at least one batch, found none")
        make = getattr(self._kind, "_make", self._kind)  # a NamedTuple takes no list; _make does
        return make([total / self._count for total in self._sums])


def _check_bytes(name: str, images: Any) -> None:
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"{name}: expected images of uint8, found {found}")


def _check_count(name: str, value: Any) -> None:
    # bool is an Integral, but batch_size=True is a mistake.
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an int, found {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, found {value}")
