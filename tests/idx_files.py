"""Data sets in MNIST's file format, written after the format's description."""

import gzip
import struct
from pathlib import Path

import numpy as np


def idx_bytes(array):
    """An array as IDX: the inverse of `read_idx`."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 0x08, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_idx(path, array):
    """An array as an IDX file, compressed if its name ends in .gz."""
    content = idx_bytes(array)
    Path(path).write_bytes(gzip.compress(content) if Path(path).suffix == ".gz" else content)


def write_parts(folder, rng, counts, draw, suffix=".gz"):
    """Write the four files, with `counts` training and test images made by `draw(count)` and random
    classes. Return the folder."""
    for part, count in zip(("train", "t10k"), counts, strict=True):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", draw(count))
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", rng.integers(0, 10, count))
    return folder


def write_digits(folder, train_count=60, test_count=20):
    """White squares on black with grey edges."""
    folder.mkdir()
    rng = np.random.default_rng(0)

    def squares(count):
        images = np.zeros((count, 28, 28), "uint8")
        for image in images:
            top, left, size = rng.integers(4, 12, 3)
            image[top : top + size, left : left + size] = 128
            image[top + 1 : top + size - 1, left + 1 : left + size - 1] = 255
        return images

    return write_parts(folder, rng, (train_count, test_count), squares)
