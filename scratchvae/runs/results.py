"""The results of a finished run: weights, numbers and pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from ..data import DATASETS, Dataset, batches, spread
from ..evaluation.metrics import report
from ..models import Model
from ..models.weights import save_weights
from ..output import to_json, warn
from ..train import streams
from .checkpoint import Arrays, below
from .config import Config
from .data import PATHS, PYTHON, check_data, filled_in
from .lock import NotOurs
from .run import LAST_STEP, Damaged, RunFolder
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
    files.check_names()
    files.path.mkdir(parents=True, exist_ok=True)
    for old in (files.weights, files.metrics, files.history):  # they belong to another config
        old.unlink(missing_ok=True)
    name = "glyphs" if data.name == "glyphs" else config.data
    if data.name not in DATASETS and not data.name.startswith(PATHS):
        name = PYTHON + data.name
    config, about = filled_in(replace(config, data=name), data)
    files.write_config(config, about | {"id": token_hex(16), "changes": [], "by_script": True})
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
        The result of `begin`.
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

    Raises
    ------
    NotOurs
        If another run has begun in the folder since `begin`.
    """
    config, about = files.known or files.read_config()
    _, now = RunFolder(files.path).read_config() if about.get("by_script") else (config, about)
    if now.get("id") != about.get("id"):
        raise NotOurs(f"save_results: another run has begun in {files.path} meanwhile")
    enough = len(test_images) > 1  # for a variance over images
    metrics = {
        "model": config.model,
        "data": about["data"].get("name"),
        **facts,
        "test": report(model, test_images, streams(config.seed).test) if enough else None,
        "history": history,
    }
    files.check_owner()
    # The header names no path of this machine: weights are given to others.
    origin = {"model": config.model, **config.model_options(), **files.identities[0]}
    trained = {"epoch": len(history)} | {n: facts[n] for n in ("epoch", LAST_STEP) if n in facts}
    save_weights(model, files.weights, **origin, **trained)
    files.write_history(history)
    files.write(files.metrics, to_json(metrics) + "\n")
    return metrics


def leave_results(trainer: Trainer, files: RunFolder) -> dict[str, Any]:
    """Write the results of a trained run, with pictures; return the content of metrics.json.

    The weights are those of the last epoch; with a validation share, those of the best epoch.
    """
    from .. import plots  # here: matplotlib takes a second to import

    epoch = trainer.best_epoch if trainer.held_out == "validation" else trainer.epoch
    model: Any = trainer.model
    if epoch != trainer.epoch:
        model.load_state_dict(below("model.", find_best(trainer, files)))
    if hasattr(model, "kl_weight"):  # after a warm-up, or in the middle of a cycle
        model.kl_weight = trainer.full_kl_weight
    facts = {"epoch": epoch, "step": epoch * trainer.steps_per_epoch, LAST_STEP: trainer.step}
    facts |= {"epochs_trained": trainer.epoch, "stopped_early": trainer.out_of_patience}
    metrics = save_results(files, model, trainer.test_images, trainer.history, **facts)
    path, unit = files.path / "loss.png", model.loss_unit
    draw(files, partial(plots.loss_curves, trainer.history, path, unit, trainer.held_out))
    draw(files, partial(leave_pictures, trainer, files.path))
    return metrics


def draw(files: RunFolder, work: Callable[[], object]) -> None:
    """Draw pictures of a run. If that fails, a warning: everything else is saved without them."""
    files.check_owner()
    try:
        work()
    except Exception as problem:
        warn(f"{files.path}: a picture could not be drawn: {problem}")


def leave_pictures(trainer: Trainer, folder: Path, prefix: str = "") -> None:
    """Draw reconstructions and samples, always with the same images and the same codes."""
    from .. import plots

    folder.mkdir(exist_ok=True)
    model = trainer.model
    few = trainer.test_images[spread(8, len(trainer.test_images))]
    x = next(batches(few, 8, None, model.data_range, model.dtype))
    plots.reconstructions(model, x, folder / f"{prefix}reconstructions.png")
    z = model.noise(64, deepcopy(trainer.picture_rng))
    plots.samples(model, z, folder / f"{prefix}samples.png")


def find_best(trainer: Trainer, files: RunFolder) -> Arrays:
    """The checkpoint of the best epoch. Damaged: it is lost; ValueError: it is another run's."""
    epoch, score = trainer.best_epoch, trainer.best_score
    problems = []
    for path in (files.best, files.checkpoint(epoch * trainer.steps_per_epoch)):
        try:
            arrays, progress = files.read_checkpoint(path)
        except Damaged as problem:
            problems.append(str(problem))
            continue
        if progress.get("epoch") == epoch and progress.get("best_score") == score:
            return arrays
        problems.append(f"{path} is not of epoch {epoch}")
    raise Damaged(
        f"{problems[0]}: the weights of the best epoch, {epoch}, are lost; those of the last epoch "
        f"are in {files.checkpoint(trainer.step)}"
    )
