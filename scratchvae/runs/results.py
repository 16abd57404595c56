"""The results of a finished run: weights, numbers and pictures."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data import DATASETS, Dataset, batches, spread
from ..evaluation.metrics import report
from ..models import Model
from ..models.weights import save_weights
from ..output import to_json, write_atomically
from ..train import streams
from .checkpoint import Arrays, below, take_first
from .config import Config
from .data import PATHS, PYTHON, check_data, filled_in
from .run import RunFolder
from .trainer import Trainer


def begin(folder: str | os.PathLike[str], config: Config, data: Dataset) -> RunFolder:
    """Make the folder of a run with your own training loop, and write its config.json.

    `save_results` writes the rest. Earlier results of `save_results` in the folder are deleted.

    Parameters
    ----------
    folder : str or path-like
        Created if needed.
    config : Config
        Options of the training. The engine in use, the image shape and absolute paths are filled
        in; also the name of the data set, if `load_or_glyphs` fell back on glyphs or `data` is
        not from `load`.
    data : Dataset
        As for `train`.

    Raises
    ------
    FileExistsError
        If the folder contains a run of `train`; nothing is changed then.
    OSError
        If config.json cannot be written.
    TypeError, ValueError
        If `data` is invalid, or the folder contains a damaged config.json.
    """
    check_data("begin", data)
    files = RunFolder(folder)
    files.check_no_training()
    files.path.mkdir(parents=True, exist_ok=True)
    for old in (files.weights, files.metrics, files.history):  # they belong to another config
        old.unlink(missing_ok=True)
    name = "glyphs" if data.name == "glyphs" else config.data
    if data.name not in DATASETS and not data.name.startswith(PATHS):
        name = PYTHON + data.name
    config, about = filled_in(replace(config, data=name), data)
    files.write_config(config, about | {"by_script": True})
    return files


def save_results(
    files: RunFolder,
    model: Model,
    test_images: np.ndarray,
    history: list[dict[str, float]],
    **facts: Any,
) -> dict[str, Any]:
    """Write weights.safetensors, history.csv and metrics.json.

    Parameters
    ----------
    files : RunFolder
        Contains the config.json of the run.
    model : Model
    test_images : uint8 array (N, H, W) or (N, C, H, W)
        With at least two, metrics.json has a report on them under ``test``.
    history : list of dict
        The losses of each epoch, by name.
    **facts
        Further entries of metrics.json.

    Returns
    -------
    dict
        The content of metrics.json.
    """
    config, about = files.read_config()
    enough = len(test_images) > 1  # for a variance over images
    metrics = {
        "model": config.model,
        "data": about["data"].get("name"),
        **facts,
        "test": report(model, test_images, streams(config.seed).test) if enough else None,
        "history": history,
    }
    options = {n: v for n, v in config.to_json().items() if v is not None}
    save_weights(model, files.weights, **options | {"epoch": facts.get("epoch", len(history))})
    files.write_history(history)
    write_atomically(files.metrics, (to_json(metrics) + "\n").encode())
    return metrics


def leave_results(trainer: Trainer, files: RunFolder) -> dict[str, Any]:
    """Write the results of a trained run, with pictures; return the content of metrics.json.

    The weights are those of the last epoch; with a validation share, those of the best epoch.
    """
    from .. import plots  # here: matplotlib takes a second to import

    epoch = trainer.best_epoch if trainer.held_out == "validation" else trainer.epoch
    if epoch != trainer.epoch:
        _take_best(trainer, files)
    model: Any = trainer.model
    if hasattr(model, "kl_weight"):  # after a warm-up, or in the middle of a cycle
        model.kl_weight = trainer.full_kl_weight
    metrics = save_results(
        files, model, trainer.test_images, trainer.history,
        epoch=epoch, step=epoch * trainer.steps_per_epoch, epochs_trained=trainer.epoch,
    )  # fmt: skip
    plots.loss_curves(trainer.history, files.path / "loss.png", model.loss_unit, trainer.held_out)
    leave_pictures(trainer, files.path)
    return metrics


def leave_pictures(trainer: Trainer, folder: Path, prefix: str = "") -> None:
    """Draw reconstructions and samples, always with the same images and the same codes."""
    from .. import plots

    model = trainer.model
    few = trainer.test_images[spread(8, len(trainer.test_images))]
    x = next(batches(few, 8, None, model.data_range, model.dtype))
    plots.reconstructions(model, x, folder / f"{prefix}reconstructions.png")
    z = model.noise(64, deepcopy(trainer.picture_rng))
    plots.samples(model, z, folder / f"{prefix}samples.png")


def _take_best(trainer: Trainer, files: RunFolder) -> None:
    """Load the weights of the best epoch; ValueError if no sound checkpoint holds them."""
    epoch, score = trainer.best_epoch, trainer.best_score

    def take(arrays: Arrays, progress: dict[str, Any]) -> None:
        if progress.get("epoch") != epoch or progress.get("best_score") != score:
            raise ValueError(f"{files.best} is not of epoch {epoch}")
        trainer.model.load_state_dict(below("model.", arrays))

    paths = (files.best, files.checkpoint(epoch * trainer.steps_per_epoch))
    found, refused = take_first(paths, take)
    if not found:
        raise ValueError(
            f"{refused[files.best]}: the weights of the best epoch, {epoch}, are lost; those of "
            f"the last epoch are in {files.checkpoint(trainer.step)}"
        )
