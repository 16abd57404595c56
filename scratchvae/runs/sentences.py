"""What a run says: at its beginning, after an epoch, when it stops and how to go on."""

from __future__ import annotations

import shlex

from ..data import Dataset
from ..models.inspect import finite
from ..ops import Losses
from ..train import in_words
from .run import RunFolder
from .trainer import Trainer


def introduction(trainer: Trainer, data: Dataset) -> str:
    """Model, engine and data."""
    config, model = trainer.config, trainer.model
    return (
        f"{config.model}: {model.flat_value.size:,} parameters, engine {config.engine}; "
        f"{data.name}: {len(trainer.train_images):,} images to train on, "
        f"{len(trainer.held_out_images):,} of the {trainer.held_out} set; "
        f"losses in {model.loss_unit}"
    )


def line(trainer: Trainer, numbers: dict[str, float]) -> str:
    """An epoch, from its line of the history."""
    parts = [
        f"{part} {in_words(Losses(*(numbers[f'{part}_{name}'] for name in Losses._fields)))}"
        for part in ("train", trainer.held_out)
    ]
    return f"epoch {trainer.epoch:2}  {'  '.join(parts)}"


def farewell(trainer: Trainer, folder: RunFolder) -> str:
    """Where a signal ended it."""
    where = "before the results were there" if trainer.done else f"in epoch {trainer.epoch + 1}"
    return f"stopped {where}, after step {trainer.step:,}; everything is saved{go_on(folder)}"


def diverged(trainer: Trainer, folder: RunFolder, problem: FloatingPointError) -> str:
    """Where, why, and what is left. On the GPU nobody looked at the tensors before."""
    found = ""
    if trainer.model.device == "cuda":
        bad = (name for name, p in trainer.model.parameters().items() if not finite(p.value))
        found = f"; by now {name} is not finite" if (name := next(bad, None)) else ""
    return f"training diverged in epoch {trainer.epoch + 1}: {problem}{found}; {kept(folder)}"


def kept(folder: RunFolder) -> str:
    """The last checkpoint."""
    last = next(iter(folder.all_checkpoints()), None)
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def go_on(folder: RunFolder) -> str:
    """How, if there is still a run."""
    command = f"scratchvae train --resume {shlex.quote(str(folder.path))}"
    return f"; go on with: {command}" if folder.config.exists() else ""
