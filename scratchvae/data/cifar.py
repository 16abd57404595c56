"""CIFAR-10: 60,000 colour images of 32 x 32 pixels (Krizhevsky, "Learning multiple layers of
features from tiny images", 2009), in the version for Python or the binary one.

A batch for Python is a pickled dict, and unpickling runs whatever code the file names. So nothing
is unpickled here: `pickletools.genops` lists the instructions, and the two values are picked out.
"""

import os
import pickletools
import re
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from ..output import open_file
from .dataset import Dataset
from .sources import SOURCES, find_files

PIXELS = 3 * 32 * 32  # bytes of an image: all red ones, all green ones, all blue ones
MAX_BYTES = 1 << 26  # of a batch, which has 31 MB
MAX_INSTRUCTIONS = 200_000  # a batch has about 40,000
TEXT = re.compile("STRING|UNICODE|BYTES|BYTEARRAY")  # the instructions that hold text


def load_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Find, read and check CIFAR-10.

    Parameters
    ----------
    data_dir : str or path-like, optional
        Look only in this folder, or in ``cifar-10-batches-py/`` or ``cifar-10-batches-bin/`` in it.

    Returns
    -------
    Dataset
        Images (N, 3, 32, 32) and labels (N,), all uint8.

    Raises
    ------
    ValueError
        If a file is damaged; names it.
    OSError
        If the files cannot be found (see `find_files`) or read.
    """
    batches = [read_batch(path) for path in find_files("cifar10", data_dir).values()]
    images, labels = (np.concatenate(arrays) for arrays in zip(*batches[:-1], strict=True))
    classes = SOURCES["cifar10"].classes
    return Dataset("cifar10", images, batches[-1][0], labels, batches[-1][1], classes=classes)


def read_batch(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The images and labels in a file; ValueError, which names it, if it is no such batch."""
    try:
        with open_file(path, MAX_BYTES) as file:
            content = file.read()
        if content[:1] == b"\x80":  # as a label, 128 is out of range
            pixels, labels = _from_pickle(content)
        else:  # the label and the pixels of an image, then the next
            rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
            pixels, labels = rows[:, 1:], rows[:, 0]
        images = pixels.reshape(-1, 3, 32, 32).copy()
        if len(images) != len(labels) or not len(labels) or labels.max() > 9:
            raise ValueError(f"{len(images)} images, {len(labels)} labels")
    except OSError:
        raise
    except Exception as error:  # pickletools may raise nearly anything
        raise ValueError(
            f"{path}: expected a batch of CIFAR-10, images with labels from 0 to 9, found: "
            f"{str(error)[:100]}"
        ) from None
    return images, labels


def _from_pickle(content: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    pixels, key = b"", b""
    labels: list[int] = []
    for instruction, value, _ in islice(pickletools.genops(content), MAX_INSTRUCTIONS):
        if TEXT.search(instruction.name):
            text = value if isinstance(value, bytes) else str(value).encode("latin-1")
            if len(text) >= PIXELS:
                pixels = text
            else:
                key = text
        elif key == b"labels" and instruction.name.startswith("BININT"):
            labels.append(cast(int, value))
    return np.frombuffer(pixels, np.uint8), np.array(labels, np.uint8)
