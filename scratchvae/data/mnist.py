"""MNIST and the sets in its format: Fashion-MNIST, KMNIST and EMNIST.

EMNIST's files hold every image transposed, since MATLAB counts the columns first (Cohen et al.,
"EMNIST: an extension of MNIST to handwritten letters", arXiv:1702.05373); here they are upright.
"""

import os
from typing import Any, cast

from .dataset import ROWS, Dataset
from .idx import read_idx, unpacked_md5
from .sources import OWNERS, SOURCES, find_files


def load_mnist(dataset: str = "mnist", data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Find, read and check MNIST or a set in its format.

    Parameters
    ----------
    dataset : str
        "mnist", "fashion-mnist", "kmnist", or "emnist-" with "letters", "balanced", "byclass",
        "bymerge", "digits" or "mnist".
    data_dir : str or path-like, optional
        Look only in this folder; the files of labels may be missing there.

    Returns
    -------
    Dataset
        Images (N, 28, 28) and labels (N,), all uint8. The labels of emnist-letters are 1 to 26.

    Raises
    ------
    ValueError
        If a file is damaged or one of another set, or the files do not match each other.
    OSError
        If the files cannot be found (see `find_files`) or read.
    """
    paths = find_files(dataset, data_dir)
    # The labels alone, if there are any: hashing 47 MB of images takes longer.
    for path in [paths[f] for f in paths if f.endswith("labels")] or paths.values():
        owner = OWNERS.get(unpacked_md5(path), dataset)
        if owner != dataset:
            raise ValueError(f"{path}: expected a file of {dataset}, found one of {owner}")
    arrays = {f: read_idx(path, 3 if f.endswith("images") else 1) for f, path in paths.items()}
    for part in ("train", "test"):
        images, path = arrays[f"{part}_images"], paths[f"{part}_images"]
        N, height, width = images.shape
        if (height, width) != (28, 28):
            raise ValueError(f"{path}: expected images of 28 x 28, found {height} x {width}")
        count = len(arrays.get(f"{part}_labels", images))
        if count != N:
            raise ValueError(
                f"{paths[f'{part}_labels']}: expected {N} labels, one for each image in "
                f"{path.name}, found {count}"
            )
        for start in range(0, N if dataset.startswith("emnist-") else 0, ROWS):
            rows = images[start : start + ROWS]
            rows[:] = rows.transpose(0, 2, 1)
    classes = SOURCES[dataset].classes
    labels = [array for field, array in arrays.items() if field.endswith("labels")]
    if classes and any(array.max() >= len(classes) for array in labels):
        classes = None  # the user's own files in this format
    return Dataset(name=dataset, classes=classes, **cast(dict[str, Any], arrays))
