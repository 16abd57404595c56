"""The results of a finished run: weights, numbers and pictures."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from ..backend import to_device
from ..data import Dataset, batches
from ..evaluation.metrics import report
from ..models.weights import save_weights
from ..output import to_json, write_atomically
from ..train import streams
from .checkpoint import Arrays, below, take_first
from .run import RunFolder
from .trainer import Trainer

SHOWN = 12  # test images in the pictures


def leave_results(trainer: Trainer, data: Dataset, files: RunFolder) -> dict[str, Any]:
    """Write weights.safetensors, metrics.json, loss.png and the pictures; return the metrics.

    The weights are those of the last epoch; with a validation share, those of the best epoch.
    """
    from .. import plots  # here: matplotlib takes a second to import

    config, epoch, step = trainer.config, trainer.epoch, trainer.step
    if trainer.held_out == "validation" and trainer.best_epoch != epoch:
        _take_best(trainer, files)
        epoch, step = trainer.best_epoch, trainer.best_epoch * trainer.steps_per_epoch
    if hasattr(trainer.model, "kl_weight"):  # after a warm-up, or in the middle of a cycle
        trainer.model.kl_weight = trainer.full_kl_weight
    options = {n: v for n, v in config.to_json().items() if v is not None}
    save_weights(trainer.model, files.weights, epoch=epoch, **options)
    images, rng = trainer.test_images, streams(config.seed).test
    enough = len(images) > 1  # for a variance over images
    metrics = {
        "model": config.model,
        "data": data.name,
        "epoch": epoch,
        "step": step,
        "epochs_trained": trainer.epoch,
        "test": report(trainer.model, images, rng) if enough else None,
        "history": trainer.history,
    }
    write_atomically(files.metrics, (to_json(metrics) + "\n").encode())
    curves = files.path / "loss.png"
    plots.loss_curves(trainer.history, curves, trainer.model.loss_unit, trainer.held_out)
    leave_pictures(trainer, files.path)
    return metrics


def leave_pictures(trainer: Trainer, folder: Path, prefix: str = "") -> None:
    """Draw reconstructions and samples, always of the same images and the same codes."""
    from .. import plots

    model = trainer.model
    x = next(batches(trainer.test_images[:SHOWN], SHOWN, None, model.data_range, model.dtype))
    x = to_device(x, model.device)
    plots.reconstructions(model, x[:8], folder / f"{prefix}reconstructions.png")
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
            f"the last one are in {files.checkpoint(trainer.step)}"
        )
