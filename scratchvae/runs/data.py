"""The images of a run: loaded by its options or passed from Python, checked, and split."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import current_engine
from ..data import Dataset, binarize, load, spread
from ..data.batches import check_images
from ..output import note
from ..train import streams
from .config import Config
from .environment import about_data, environment

PATHS = ("images:", "arrays:")  # prefixes of data sets that are a folder or a file
PYTHON = "python:"  # prefix of a data set that was passed from Python


def load_data(config: Config, say: Callable[[str], None] = note) -> Dataset:
    """Load the data set of a run; `say` receives what was found. Raises as `load`; ValueError also
    for data that came from Python."""
    if config.data.startswith(PYTHON):
        raise ValueError(
            f"the images of this run ({config.data}) came from Python: pass them again as data=, "
            "to sv.runs.train or sv.runs.resume, or select a data set with --data NAME"
        )
    options = config.image_options() | {"split": config.split, "say": say}
    return load(config.data, config.data_dir, **options)


def check_data(name: str, data: Any) -> None:
    """Check a data set of the user's; TypeError or ValueError, which begins with `name`."""
    if isinstance(data, str | os.PathLike):
        raise TypeError(f"{name}: data must be a Dataset, got {data!r}; for a folder use folder=")
    if not isinstance(data, Dataset):
        raise TypeError(f"{name}: data must be a Dataset, got {type(data).__name__}")
    if not (isinstance(data.name, str) and data.name.strip()):
        raise ValueError(f"{name}: data.name must be a text that is not empty, got {data.name!r}")
    parts = {"train": data.train_images, "test": data.test_images}
    if data.validation_images is not None:
        parts["validation"] = data.validation_images
    for part, images in parts.items():
        check_images(f"{name}: data.{part}_images", images)
        if images.ndim != 3 and (images.ndim != 4 or images.shape[1] not in (1, 3)):
            raise ValueError(
                f"{name}: data.{part}_images must have shape (N, H, W) or (N, C, H, W) with 1 or 3 "
                f"channels, got {images.shape}"
            )
        if images.shape[1:] != data.train_images.shape[1:]:
            raise ValueError(
                f"{name}: data.{part}_images must have the shape of train_images, "
                f"(N, {', '.join(map(str, data.train_images.shape[1:]))}), got {images.shape}"
            )
        for what in ("labels", "names"):
            found = getattr(data, f"{part}_{what}")
            if found is not None and len(found) != len(images):
                raise ValueError(
                    f"{name}: data.{part}_{what} must have a value for each of {len(images):,} "
                    f"images, got {len(found):,}"
                )


class Images(NamedTuple):
    """uint8 (N, H, W) or (N, C, H, W); `held_out` is evaluated each epoch, `which` is its name."""

    train: np.ndarray
    chosen: np.ndarray  # indices of the images in `train` to train on
    held_out: np.ndarray
    test: np.ndarray
    which: str


def images_of(config: Config, data: Dataset) -> Images:
    """Split a data set: the user's validation images, or some of the training images, drawn across
    the list (split "tail": the last ones). ValueError for an empty part.

    With `binarize`, held-out images are drawn once, so that epochs and runs of one seed compare.
    """
    train, test, which = data.train_images, data.test_images, "test"
    chosen, held_out = np.arange(len(train)), test
    count = round(config.validation * len(train))
    if data.validation_images is not None:
        if config.validation:
            raise ValueError(
                f"validation: {data.name} has {len(data.validation_images):,} validation images of "
                "its own: leave validation out"
            )
        held_out, which = data.validation_images, "validation"
    elif config.validation:
        if not 0 < count < len(train):
            raise ValueError(
                f"validation: {config.validation:g} of {len(train)} training images is {count}, "
                "which leaves none for training or none for validation"
            )
        which = "validation"
        if config.split == "tail":
            train, held_out = train[:-count], train[-count:]
            chosen = chosen[:-count]
        else:
            held = spread(count, len(train))
            chosen, held_out = np.delete(chosen, held), train[held]
    if config.patience is not None and which == "test":
        raise ValueError("patience needs validation images: set validation, for example to 0.1")
    if config.binarize:
        rng = streams(config.seed).binarize_held_out
        test = binarize(test, rng)
        held_out = test if which == "test" else binarize(held_out, rng)
    return Images(train, chosen, held_out, test, which)


def test_images(config: Config, data: Dataset) -> np.ndarray:
    """The test images, binarized with the same draw as in `images_of`: uint8 (N, H, W) or
    (N, C, H, W)."""
    test = data.test_images
    return binarize(test, streams(config.seed).binarize_held_out) if config.binarize else test


def image_shape(data: Dataset) -> tuple[int, ...]:
    """Channels, height and width of its images."""
    return (1, *data.train_images.shape[1:])[-3:]


def check_shape(config: Config, data: Dataset) -> None:
    """ValueError if the images do not have the shape that the model was made for."""
    if (shape := image_shape(data)) != config.image_shape:
        raise ValueError(
            f"the model {config.model} takes images of shape {config.image_shape}, but those of "
            f"{data.name} have shape {shape}{how_to_fit(shape, config.image_shape)}"
        )


def how_to_fit(shape: Any, wanted: Any) -> str:
    """The options that give images of `shape` the shape `wanted`, as the end of a message."""
    options = []
    if shape[1:] != wanted[1:]:
        _, H, W = wanted
        options.append(f"--image-size {W if H == W else f'{W}x{H}'}")
    if shape[0] != 1 == wanted[0]:
        options.append("--grey")
    return f"; {' '.join(options)} {'fit' if len(options) > 1 else 'fits'}" if options else ""


def filled_in(config: Config, data: Dataset) -> tuple[Config, dict[str, Any]]:
    """The content of config.json: the options with the engine in use, absolute paths and the image
    shape (by default that of the data); then the environment and the data."""
    name, data_dir = config.data, config.data_dir and absolute(config.data_dir)
    for prefix in PATHS:
        if name.startswith(prefix):
            name = prefix + absolute(name.removeprefix(prefix))
    shape = config.image_shape or image_shape(data)  # the trainer refuses what does not fit
    engine = current_engine()
    config = replace(config, engine=engine, image_shape=shape, data=name, data_dir=data_dir)
    return config, {
        "environment": environment(engine),
        "data": about_data(data, name, config.image_options()),
    }


def absolute(path: str) -> str:
    return str(Path(path).expanduser().absolute())
