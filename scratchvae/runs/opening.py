"""A run as others use it: its model with trained weights, its options, its data."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import use
from ..data import Dataset, load
from ..models import Model, build
from ..models.weights import load_weights
from .checkpoint import below, read_checkpoint
from .config import Config
from .images import images_of
from .run import RunFolder


@dataclass(frozen=True)
class Run:
    """A trained model and where it comes from; see `open_run`.

    Attributes
    ----------
    folder : Path
    config : Config
    model : Model
        In evaluation mode, where the engine computes.
    weights : Path
        The file that they are from.
    """

    folder: Path
    config: Config
    model: Model
    weights: Path

    def load_data(self) -> Dataset:
        """The run's data set, in grey even if the run was trained in black and white."""
        return load(self.config.data, self.config.data_dir)

    def test_images(self) -> np.ndarray:
        """uint8 images as the run was tested with: binarised, the same draw, if it was."""
        return images_of(self.config, self.load_data()).test


def open_run(folder: str | os.PathLike[str], engine: str = "auto", tf32: bool = False) -> Run:
    """Build the model of a run and load its weights.

    Parameters
    ----------
    folder : str or path-like
        A run that is done, or one that is under way or was stopped: then its best checkpoint, or
        else its last one, is taken.
    engine, tf32
        As for `use`.

    Raises
    ------
    FileNotFoundError
        If there is no run, or no weights yet.
    ValueError
        If its files are damaged.
    """
    run_folder = RunFolder(folder)
    config, _ = run_folder.read_config()
    engine = use(engine, tf32=tf32)
    if config.image_shape is None:
        raise ValueError(f"{run_folder.path}: config.json has no image_shape")
    model = build(config.model, **config.model_options())
    if engine == "cuda":
        model.to("cuda")
    weights = _load_best(model, run_folder)
    model.eval()
    return Run(run_folder.path, config, model, weights)


def _load_best(model: Model, folder: RunFolder) -> Path:
    if folder.weights.exists():
        load_weights(model, folder.weights)
        return folder.weights
    problems: list[Any] = []
    for path in (folder.best, *folder.all_checkpoints()):
        try:
            arrays, _ = read_checkpoint(path)
            model.load_state_dict(below("model.", arrays))
            return path
        except FileNotFoundError:
            continue
        except ValueError as problem:
            problems.append(problem)
    why = f": {problems[0]}" if problems else ""
    raise FileNotFoundError(f"{folder.path}: no weights yet, and no sound checkpoint{why}")
