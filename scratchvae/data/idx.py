"""IDX, the file format of MNIST: a few big-endian integers, then the raw bytes.

A file with 60,000 pictures of 28 x 28 pixels starts like this::

    byte  0-1    00 00          always zero
    byte  2      08             the type of an element: unsigned byte
    byte  3      03             how many dimensions follow
    byte  4-7    00 00 ea 60    60,000 pictures
    byte  8-11   00 00 00 1c    28 rows
    byte 12-15   00 00 00 1c    28 columns
    byte 16-     the pixels, picture after picture, row after row

A parser for that is three lines of NumPy. The rest of this file is distrust: files get cut short
on the way, saved as a web page, or compressed under a name that hides it, and a header is only a
promise. The promise is checked against the bytes that are really there, so that sixteen bad bytes
can never ask for a terabyte of memory.
"""

import gzip
import math
import os
import stat
import struct
import zlib
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

GZIP_MAGIC = b"\x1f\x8b"
UINT8 = 0x08
TYPE_NAMES = {
    0x08: "uint8",
    0x09: "int8",
    0x0B: "int16",
    0x0C: "int32",
    0x0D: "float32",
    0x0E: "float64",
}
MAX_DIMENSIONS = 4
MAX_BYTES = 1 << 30  # twenty times the size of MNIST
CHUNK_BYTES = 1 << 20


def read_idx(path: str | os.PathLike[str], expected_ndim: int | None = None) -> NDArray[np.uint8]:
    """Read an array of bytes from an IDX file, plain or compressed with gzip.

    Compression is recognised from the first two bytes, not from the file's name.

    Parameters
    ----------
    path : str or path-like
        The file.
    expected_ndim : int, optional
        The number of dimensions that the array must have: 3 for pictures, 1 for labels. By
        default anything from 1 to 4.

    Returns
    -------
    ndarray of uint8
        A writable array of its own, in the shape that the header names.

    Raises
    ------
    ValueError
        If the content is anything but one whole IDX file of uint8. The message names the file,
        what was expected and what was found.
    OSError
        If the file cannot be opened or read.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be waited for
        raise ValueError(f"{path}: not a file")
    # Opened once: what is looked at is then what is parsed, even if someone replaces the file.
    with open(path, "rb") as raw:
        compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        if not compressed:
            return _parse(raw, path, expected_ndim)
        try:
            with gzip.GzipFile(fileobj=raw, mode="rb") as stream:
                return _parse(cast(IO[bytes], stream), path, expected_ndim)
        except EOFError:
            raise ValueError(
                f"{path}: truncated gzip file: expected an end marker, found the end of the file"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: corrupt gzip file: expected compressed IDX data, found: {error}"
            ) from None


def _parse(
    stream: IO[bytes], path: str | os.PathLike[str], expected_ndim: int | None
) -> NDArray[np.uint8]:
    shape = _read_header(stream, path, expected_ndim)
    size = math.prod(shape)  # Python integers: four 32-bit sizes overflow no product
    # One byte more than promised tells an over-long file from a whole one. It also takes gzip
    # past the last byte, which is where it verifies its checksum.
    data = _read_at_most(stream, size + 1)
    if len(data) != size:
        dims = " x ".join(map(str, shape))
        fault, found = (
            ("over-long", "more") if len(data) > size else ("truncated", f"{len(data)} bytes")
        )
        raise ValueError(f"{path}: {fault} IDX data: expected {dims} = {size} bytes, found {found}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)


def _read_header(
    stream: IO[bytes], path: str | os.PathLike[str], expected_ndim: int | None
) -> tuple[int, ...]:
    magic = bytes(_read_at_most(stream, 4))
    if len(magic) < 4:
        raise ValueError(
            f"{path}: truncated IDX header: expected at least 4 bytes, found {len(magic)}"
        )
    if magic[:2] != b"\0\0":
        raise ValueError(
            f"{path}: not an IDX file: expected the magic bytes 00 00 08 and the number of "
            f"dimensions, found {magic.hex(' ')}"
        )
    _, _, type_code, ndim = magic
    if type_code != UINT8:
        name = TYPE_NAMES.get(type_code, "unknown")
        raise ValueError(
            f"{path}: wrong IDX type: expected 0x08 (uint8), found 0x{type_code:02x} ({name})"
        )
    if not 1 <= ndim <= MAX_DIMENSIONS or expected_ndim not in (None, ndim):
        wanted = f"1 to {MAX_DIMENSIONS}" if expected_ndim is None else str(expected_ndim)
        raise ValueError(f"{path}: wrong IDX rank: expected {wanted} dimensions, found {ndim}")
    sizes = _read_at_most(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise ValueError(
            f"{path}: truncated IDX header: expected {4 + 4 * ndim} bytes for {ndim} dimensions, "
            f"found {4 + len(sizes)}"
        )
    shape = struct.unpack(f">{ndim}I", sizes)
    if not 0 < math.prod(shape) <= MAX_BYTES:
        raise ValueError(
            f"{path}: absurd IDX size: expected 1 to {MAX_BYTES} elements, found "
            f"{' x '.join(map(str, shape))} = {math.prod(shape)}"
        )
    return shape


def _read_at_most(stream: IO[bytes], limit: int) -> bytearray:
    """Read `limit` bytes, or all there are; memory grows with what comes, not with `limit`."""
    data = bytearray()
    while len(data) < limit:
        chunk = stream.read(min(CHUNK_BYTES, limit - len(data)))
        if not chunk:
            break
        data += chunk
    return data
