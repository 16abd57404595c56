"""Which images a run trains on, which it watches, and which it is tested with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data import Dataset, binarize
from ..train import streams
from .config import Config


class Images(NamedTuple):
    """uint8 arrays (N, H, W) or (N, C, H, W). `held_out` is looked at after every epoch; `which`
    says what it is: "validation", or "test" where no images are kept to validate."""

    train: np.ndarray
    held_out: np.ndarray
    test: np.ndarray
    which: str


def images_of(config: Config, data: Dataset) -> Images:
    """Divide a data set as the config says.

    Images that are not trained on are drawn in black and white once, if they are: what is compared
    from epoch to epoch, and from run to run of one seed, stays the same.

    Raises
    ------
    ValueError
        If the validation share leaves nothing, to train on or to validate.
    """
    train, validation = split(data.train_images, config.validation)
    test = data.test_images
    if config.binarize:
        rng = streams(config.seed).binarize_held_out
        test, validation = binarize(test, rng), binarize(validation, rng)
    if len(validation):
        return Images(train, validation, test, "validation")
    return Images(train, test, test, "test")


def split(images: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Those to train on, and the last ones, kept for validation: views."""
    count = round(share * len(images))
    if share and not 0 < count < len(images):
        raise ValueError(
            f"validation: a share of {share:g} of {len(images)} images is {count} of them; some "
            "must be left on either side"
        )
    return images[: len(images) - count], images[len(images) - count :]
