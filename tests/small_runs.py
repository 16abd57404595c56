"""Runs of a second, for tests of what is done with a run."""

import gzip
import struct

import numpy as np
import pytest
from PIL import Image

from scratchvae.runs import Config, train


def write_idx(path, array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_digits(folder, train_count=60, test_count=20):
    """White squares on black, some with grey edges, in the format of MNIST, with classes."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for part, count in (("train", train_count), ("t10k", test_count)):
        images = np.zeros((count, 28, 28), "uint8")
        for image in images:
            top, left, size = rng.integers(4, 12, 3)
            image[top : top + size, left : left + size] = 128
            image[top + 1 : top + size - 1, left + 1 : left + size - 1] = 255
        labels = rng.integers(0, 10, count).astype("uint8")
        write_idx(folder / f"{part}-images-idx3-ubyte.gz", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte.gz", labels)
    return folder


def write_photographs(folder, count=20):
    """Noise in colour, 64 x 64."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), "uint8")).save(folder / f"{i:02}.png")
    return folder


def trained(folder, **options):
    """Train into this folder, on the engine numpy, without a word; returns the folder."""
    options = {"epochs": 1, "engine": "numpy", "batch_size": 20} | options
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent / "cache"))
        train(Config(**options), folder, say=lambda text: None)
    return folder
