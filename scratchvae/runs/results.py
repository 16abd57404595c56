"""What a run leaves when it is done: weights, numbers and pictures."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

from ..backend import to_device
from ..data import Dataset, batches
from ..evaluation.metrics import report
from ..models.weights import save_weights
from ..output import to_json
from ..train import streams
from .checkpoint import Arrays, below, read_checkpoint
from .run import RunFolder
from .trainer import Trainer

SHOWN = 12  # test images in the pictures


def leave_results(trainer: Trainer, data: Dataset, folder: RunFolder) -> dict[str, Any]:
    """weights.safetensors, metrics.json, loss.png and the pictures; returns the metrics.

    The weights are those of the last epoch; with a validation share, those of the best one
    (ValueError if they are lost).
    """
    from .. import plots  # here: matplotlib takes a second to import

    epoch, step = trainer.epoch, trainer.step
    if trainer.held_out == "validation" and trainer.best_epoch != epoch:
        arrays, facts = _best_checkpoint(trainer, folder)
        trainer.model.load_state_dict(below("model.", arrays))
        epoch, step = facts["epoch"], facts["step"]
    if hasattr(trainer.model, "kl_weight"):  # after a warm-up, or in the middle of a cycle
        trainer.model.kl_weight = trainer.full_kl_weight
    config = trainer.config
    options = {n: v for n, v in config.to_json().items() if v is not None}
    save_weights(trainer.model, folder.weights, epoch=epoch, **options)
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
    folder.write("metrics.json", (to_json(metrics) + "\n").encode())
    plots.loss_curves(
        trainer.history, folder.path / "loss.png", trainer.model.loss_unit, trainer.held_out
    )
    leave_pictures(trainer, folder.path)
    return metrics


def leave_pictures(trainer: Trainer, folder: Path, prefix: str = "") -> None:
    """Reconstructions and samples; always of the same images and the same codes."""
    from .. import plots

    model = trainer.model
    x = next(batches(trainer.test_images[:SHOWN], SHOWN, None, model.data_range, model.dtype))
    x = to_device(x, model.device)
    plots.reconstructions(model, x[:8], folder / f"{prefix}reconstructions.png")
    samples = model.generate(model.noise(64, deepcopy(trainer.picture_rng)))
    plots.image_grid(samples, folder / f"{prefix}samples.png", 8, model.data_range)


def _best_checkpoint(trainer: Trainer, folder: RunFolder) -> tuple[Arrays, dict[str, Any]]:
    """The one after the best epoch: the file `best`, or the same among the last checkpoints.

    Raises
    ------
    ValueError
        If neither is there and sound: other weights would not be what was asked for.
    """
    wanted = {"epoch": trainer.best_epoch, "best_score": trainer.best_score}
    problems = []
    for path in (folder.best, folder.checkpoint(trainer.best_epoch * trainer.steps_per_epoch)):
        try:
            arrays, facts = read_checkpoint(path)
            if all(facts.get(name) == value for name, value in wanted.items()):
                return arrays, facts
            problems.append(f"{path} is not of epoch {trainer.best_epoch}")
        except FileNotFoundError:
            problems.append(f"there is no {path}")
        except ValueError as problem:
            problems.append(str(problem))
    raise ValueError(
        f"{problems[0]}: the weights of the best epoch, {trainer.best_epoch}, are lost; those of "
        f"the last one are in {folder.checkpoint(trainer.step)}"
    )
