"""IDX, the file format of MNIST: a few big-endian integers, then the raw bytes.

A file with 60,000 images of 28 x 28 pixels starts like this::

    byte  0-1    00 00          always zero
    byte  2      08             the type of an element: unsigned byte
    byte  3      03             how many dimensions follow
    byte  4-7    00 00 ea 60    60,000 images
    byte  8-11   00 00 00 1c    28 rows
    byte 12-15   00 00 00 1c    28 columns
    byte 16-     the pixels, image after image, row after row

Memory grows with the bytes in the file, not with the size in its header.
"""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ..output import open_file

GZIP_MAGIC = b"\x1f\x8b"
MAX_DIMENSIONS = 4
MAX_BYTES = 1 << 30  # the largest known set, EMNIST by class, has 547 MB
CHUNK_BYTES = 1 << 20


@contextmanager
def unpacked(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file, plain or gzip (by its first two bytes); ValueErrors of the block name the file.

    It is opened only once: another process may replace the file between two calls of open.
    """
    try:
        with open_file(path, math.inf) as raw:
            compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            raw.seek(0)
            yield cast(IO[bytes], gzip.GzipFile(fileobj=raw) if compressed else raw)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path}: damaged gzip file: {error}") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def unpacked_md5(path: str | os.PathLike[str]) -> str:
    """MD5 of a file's content, decompressed if it is gzip. It finds damage, not forgery."""
    with unpacked(path) as stream:
        return hashlib.file_digest(cast(Any, stream), "md5").hexdigest()


def read_idx(path: str | os.PathLike[str], expected_ndim: int | None = None) -> NDArray[np.uint8]:
    """Read an array of bytes from an IDX file, plain or gzip (by its first two bytes).

    Parameters
    ----------
    path : str or path-like
    expected_ndim : int, optional
        3 for images, 1 for labels; by default anything from 1 to 4.

    Returns
    -------
    ndarray of uint8
        A writable array of the shape in the header.

    Raises
    ------
    ValueError
        If the content is not exactly one complete IDX file of uint8; names the file.
    OSError
        If the file cannot be opened or read.
    """
    with unpacked(path) as stream:
        magic = stream.read(4)
        if len(magic) < 4 or magic[:3] != b"\0\0\x08":
            raise ValueError(
                "not an IDX file of bytes: expected 00 00 08 and the number of dimensions, "
                f"found {magic.hex(' ') or 'an empty file'}"
            )
        ndim = magic[3]
        if not 1 <= ndim <= MAX_DIMENSIONS or expected_ndim not in (None, ndim):
            wanted = expected_ndim or f"1 to {MAX_DIMENSIONS}"
            raise ValueError(f"wrong IDX rank: expected {wanted} dimensions, found {ndim}")
        sizes = stream.read(4 * ndim)
        if len(sizes) < 4 * ndim:
            raise ValueError(f"truncated IDX header: expected {ndim} sizes of 4 bytes")
        shape = tuple(np.frombuffer(sizes, ">u4").tolist())
        size = math.prod(shape)  # Python integers: four 32-bit sizes overflow no product
        promise = f"{' x '.join(map(str, shape))} = {size}"
        if not 0 < size <= MAX_BYTES:
            raise ValueError(f"wrong IDX size: expected 1 to {MAX_BYTES} elements, found {promise}")
        # In chunks, since read(size) would allocate the size in the header. One byte more detects
        # an over-long file, and makes gzip reach the end, where it verifies its checksum.
        data = bytearray()
        while chunk := stream.read(min(CHUNK_BYTES, size + 1 - len(data))):
            data += chunk
        if len(data) != size:
            found = f"{len(data)} bytes" if len(data) < size else "more"
            length = "truncated" if len(data) < size else "over-long"
            raise ValueError(f"{length} IDX data: expected {promise} bytes, found {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
