"""What a run leaves when it is done: weights, numbers and pictures."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from pathlib import Path
from typing import Any

from ..backend import to_device
from ..checkpoint import save_weights
from ..data import Dataset, batches
from ..metrics import report
from ..train import random_streams
from .folder import RunFolder
from .snapshot import read_checkpoint
from .trainer import Trainer

SHOWN = 12  # test images in the pictures


def leave_results(trainer: Trainer, data: Dataset, folder: RunFolder) -> dict[str, Any]:
    """weights.safetensors, metrics.json, loss.png and the pictures; returns the metrics.

    The weights are those of the last epoch; with a validation share, those of the best one.
    """
    from .. import plots  # here: matplotlib takes a second to import

    epoch, step = trainer.epoch, trainer.step
    if trainer.held_out == "validation" and trainer.best_epoch != epoch:
        arrays, facts = read_checkpoint(folder.best)
        weights = {n[6:]: a for n, a in arrays.items() if n.startswith("model.")}
        trainer.model.load_state_dict(weights)
        epoch, step = facts["epoch"], facts["step"]
    config = trainer.config
    options = {n: v for n, v in config.to_json().items() if v is not None}
    save_weights(trainer.model, folder.weights, epoch=epoch, **options)
    _, _, _, rng = random_streams(config.seed, 4)
    metrics = {
        "model": config.model,
        "data": data.name,
        "epoch": epoch,
        "step": step,
        "epochs_trained": trainer.epoch,
        "test": report(trainer.model, trainer.test_images, rng),
        "history": trainer.history,
    }
    folder.write("metrics.json", (json.dumps(_json_ready(metrics), indent=1) + "\n").encode())
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


def _json_ready(found: Any) -> Any:
    """NaN and infinity have no place in JSON: null."""
    if isinstance(found, dict):
        return {name: _json_ready(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_json_ready(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found
