"""From stored bytes to what a network eats, and from its answers to one honest average.

Pictures are kept as bytes, 47 MB for all of MNIST, and become floats one batch at a time.
Where 0..255 goes depends on the decoder's last layer: a sigmoid answers in (0, 1), a tanh in
(-1, 1). A tanh that is shown data in [0, 1] can never be right about black by being extreme, and
trains all the same, only worse; so the range is an argument here and a property of every model.

The last batch is usually smaller: 60,000 = 468 * 128 + 96. Its mean then speaks for 96 pictures
and must not weigh as much as the others: that is what `WeightedMean` is for.
"""

from collections.abc import Iterator
from numbers import Integral
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..backend import accelerated

Means = TypeVar("Means", bound=tuple[Any, ...])


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
        Shuffles: it draws one permutation, when `batches` is called. By default the images come
        in order, and nothing is drawn.
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
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        came = getattr(images, "dtype", type(images).__name__)
        raise TypeError(f"batches: expected images of uint8, found {came}")
    if images.ndim not in (3, 4):
        raise ValueError(
            f"batches: expected images of shape (N, H, W) or (N, C, H, W), found {images.shape}"
        )
    _check_count("batches: batch_size", batch_size)
    dtype = np.dtype(dtype)
    if not np.issubdtype(dtype, np.floating):
        raise TypeError(f"batches: expected a floating dtype, found {dtype}")
    low, high = data_range
    if not low < high:
        raise ValueError(f"batches: expected a data_range with low < high, found {data_range}")
    # All of the above in a plain function, not in the generator below: a generator would run
    # none of it before its first batch is asked for.
    order = np.arange(len(images)) if rng is None else rng.permutation(len(images))
    return _generate(images, int(batch_size), order, float(low), float(high), dtype)


def _generate(
    images: NDArray[np.uint8],
    batch_size: int,
    order: NDArray[np.intp],
    low: float,
    high: float,
    dtype: np.dtype[Any],
) -> Iterator[NDArray[Any]]:
    if images.ndim == 3:
        images = images[:, None]  # (N, 1, H, W)
    levels = np.arange(256, dtype=dtype) / dtype.type(255)  # a division: 255 becomes exactly 1
    if (low, high) != (0.0, 1.0):
        levels = (
            low * (1 - levels) + high * levels
        )  # unlike low + (high - low) x, exact at the ends
    levels = levels.astype(dtype, copy=False)
    for start in range(0, len(order), batch_size):
        yield look_up(images, order[start : start + batch_size], levels)  # (B, C, H, W)


@accelerated
def look_up(images, chosen, levels):
    """levels[images[chosen]]: a byte has 256 values, and each is scaled only once."""
    return levels[images[chosen]]


class WeightedMean(Generic[Means]):
    """The mean over all images, from the means over batches of unequal size.

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
        """Count `values`, a tuple of means over `n` images.

        Parameters
        ----------
        values : tuple or NamedTuple of scalars
            Of the same type and length in every call.
        n : int
            The images in the batch, at least 1.

        Raises
        ------
        TypeError
            If `values` is not a tuple of the type first added, or `n` is not an integer.
        ValueError
            If `values` has another length than those first added, or `n` < 1.
        """
        _check_count("WeightedMean: n", n)
        kind = type(values)
        if not isinstance(values, tuple) or self._kind not in (None, kind):
            expected = "tuple" if self._kind is None else self._kind.__name__
            raise TypeError(f"WeightedMean: expected a {expected}, found a {kind.__name__}")
        if self._kind is not None and len(values) != len(self._sums):
            raise ValueError(
                f"WeightedMean: expected {len(self._sums)} values, found {len(values)}"
            )
        # float() first: in float32 the sum over 60,000 images would lose digits.
        weighted = [float(value) * int(n) for value in values]
        if self._kind is None:
            self._kind, self._sums = kind, [0.0] * len(values)
        self._sums = [a + b for a, b in zip(self._sums, weighted, strict=True)]
        self._count += int(n)

    def mean(self) -> Means:
        """Return the means over all images counted so far, as Python floats.

        Returns
        -------
        tuple or NamedTuple of float
            Of the type that was added.

        Raises
        ------
        ValueError
            If nothing was added.
        """
        if self._kind is None:
            raise ValueError("WeightedMean: expected at least one batch, found none")
        means = [total / self._count for total in self._sums]
        make = getattr(self._kind, "_make", self._kind)  # a NamedTuple takes no list; _make does
        return make(means)


def _check_count(name: str, value: Any) -> None:
    # bool is an Integral, but batch_size=True is a mistake.
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an int, found {value!r}")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, found {value}")
