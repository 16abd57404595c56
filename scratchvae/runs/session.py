"""`train` starts a run in a folder; `resume` continues it after a signal or a crash."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import EngineInUse, use, using
from ..data import Dataset
from ..data.dataset import doubts_about
from ..models import VAE
from ..models.inspect import finite
from ..models.weights import read_tensors
from ..ops import Losses
from ..output import progress, tell, warn
from ..train import in_words
from .config import MOST, Config, check_identity
from .data import PYTHON, check_data, filled_in, load_data
from .environment import differences
from .lock import NotOurs
from .results import draw, find_best, leave_pictures, leave_results
from .run import LAST_STEP, Damaged, RunFolder, check_same_data
from .signals import Asked, StopNow, Stopped, asked_to_stop
from .trainer import Trainer

Say = Callable[[str], None]
# What may change when a run continues.
MAY_CHANGE = {"epochs", "engine", "data", "data_dir", "lr", "clip_norm", "patience"}
FOR_TRAINING = {"epochs", "lr", "clip_norm", "patience"}  # of these, without effect afterwards


def train(
    config: Config,
    data: Dataset | None = None,
    folder: str | os.PathLike[str] | None = None,
    say: Say = tell,
    bar: bool = True,
    trained_on: dict[str, Any] | None = None,
    anyway: bool = False,
) -> dict[str, Any]:
    """Train from the beginning, and leave a run in the folder (see run.py).

    Parameters
    ----------
    config : Config
    data : Dataset, optional
        Images of yours: uint8 (N, H, W) or (N, C, H, W), the same shape in all parts; `config`
        then has no options about images. By default the data set that `config` names.
    folder : str or path-like, optional
        Created if needed; must not contain a run. By default ``runs/MODEL``.
    say : callable
        Receives messages, a line at a time. By default they are printed. Warnings are printed on
        standard error.
    bar : bool
        Draw a progress bar if there is a terminal.
    trained_on : dict, optional
        To repeat a run: ``data`` in the table ``run`` of its config.json. The data set must be the
        same.
    anyway : bool
        Accept another one, with a warning; config.json records it.

    Returns
    -------
    dict
        The content of metrics.json.

    Raises
    ------
    Stopped
        After SIGINT, SIGTERM or SIGHUP, when everything is saved.
    FloatingPointError
        If training diverges; the message has the step and the last good checkpoint.
    FileExistsError, RuntimeError
        If the folder contains a run, or another process trains there or has taken it.
    OSError
        If a file cannot be written; the message has it and the last good checkpoint.
    TypeError, ValueError, MemoryError
        If the data, the config and the folder do not match.

    Notes
    -----
    If an error occurs before the first step, no run is left in the folder.
    """
    files = RunFolder(Path("runs") / config.model if folder is None else folder)
    config, data, about = _prepare("train", config, data, say)
    kind, _, source = config.data.partition(":")
    if kind == "images" and Path(source).resolve() == files.path.resolve():
        raise FileExistsError(f"{files.path} is the folder of the pictures: choose another folder")
    if trained_on and not check_same_data("train", trained_on, about["data"], anyway):
        change = {"step": 0, "data_sha256": [trained_on["sha256"], about["data"]["sha256"]]}
        about["changes"] = [change]
    trainer = Trainer(config, data)  # first: if it raises an error, no folder is made
    files.make()
    with files.locked():
        files.begin(config, about)
        try:
            say(_introduction(trainer, data))
            return _run(trainer, files, say, bar)
        except Exception as problem:
            if not trainer.step and not isinstance(problem, Stopped | NotOurs):
                files.remove_begun()
            raise


def resume(
    folder: str | os.PathLike[str],
    say: Say = tell,
    bar: bool = True,
    anyway: bool = False,
    **changes: Any,
) -> dict[str, Any]:
    """Continue the run in the folder from its last good checkpoint; returns and raises as `train`.

    On the same machine, with the same engine, versions and threads, the results are bit-identical
    to those of an uninterrupted run. `say` receives a message if any of these differ.

    Parameters
    ----------
    folder, say, bar
        As for `train`.
    anyway : bool
        Continue, with a warning, although the data set has changed or the best weights are lost.
    **changes
        New `epochs` or `patience`, to train longer; `engine`; `data` and `data_dir`, if the data
        have moved; `data` as a Dataset, if the run began with one; `lr` and `clip_norm`, after a
        divergence. config.json records changes and their step.

    Raises
    ------
    ValueError
        Also if the data set differs, config.json was edited, a checkpoint is another run's or none
        is left, more than `epochs` have begun, or a change has no effect because training is done.
    TypeError
        If `changes` has another option, or `data` is neither a Dataset nor a name.
    """
    if fixed := changes.keys() - MAY_CHANGE:
        raise TypeError(f"resume: expected changes among {MAY_CHANGE}, got {', '.join(fixed)}")
    if not isinstance(named := changes.get("data", ""), str | Dataset):
        raise TypeError(
            f"resume: data must be a Dataset or the name of a data set, got {type(named).__name__}"
        )
    given = changes.pop("data") if isinstance(changes.get("data"), Dataset) else None
    files = RunFolder(folder)
    before, about = files.read_config()
    files.make()  # if the checkpoints were deleted, the run begins again
    with files.locked():
        config, data, now = _prepare("resume", replace(before, **changes), given, say)
        changed: dict[str, list[Any]] = {}
        if not check_same_data(str(files.path), about["data"], now["data"], anyway):
            changed["data_sha256"] = [about["data"].get("sha256"), now["data"]["sha256"]]
            about = about | {"data": now["data"]}
        if elsewhere := differences(about["environment"], now["environment"]):
            say(f"the environment has changed ({', '.join(elsewhere)}): last digits may differ")
        trainer = Trainer(config, data)
        say(_introduction(trainer, data))
        say(_restore(trainer, files))
        changed |= _check_best(trainer, files, anyway)
        _note_changes(before, changed, trainer, files, about, say)
        return _run(trainer, files, say, bar)


def _prepare(
    name: str, config: Config, data: Dataset | None, say: Say
) -> tuple[Config, Dataset, dict[str, Any]]:
    """Choose the engine, load or check the data: the filled-in config, the data, about both."""
    try:
        use(config.engine, tf32=config.tf32)
    except EngineInUse:
        raise
    except RuntimeError as problem:
        raise RuntimeError(
            f"{problem}; --engine auto uses the best engine of this machine"
        ) from None
    if data is None:
        data = load_data(config, say)
    else:
        check_data(name, data)
        asked = [n for n, v in config.image_options().items() if v]
        if asked and name == "train":
            raise ValueError(
                f"train: {', '.join(asked)}: prepare the images of your Dataset yourself"
            )
        for line in doubts_about(data.train_images):
            say(f"warning: {data.name}: {line}")
        config = replace(config, data=PYTHON + data.name, data_dir=None)
    from .. import plots  # noqa: F401  (the end needs it: an error must come before the training)

    config, about = filled_in(config, data)
    return config, data, about


def _restore(trainer: Trainer, files: RunFolder) -> str:
    """Restore the newest sound checkpoint, and put damaged ones aside. ValueError if a sound one
    does not belong to this run or does not fit."""
    files.finished = _finished_step(files)
    damaged = False
    for path in files.all_checkpoints():
        try:
            arrays, progress = files.read_checkpoint(path)
        except Damaged as problem:
            # Under its old name it would count as the newest; sound ones would be deleted first.
            aside = files.put_aside(path, "damaged")
            warn(f"damaged checkpoint, renamed to {aside.name}: {problem}")
            damaged = True
            continue
        if (step := progress.get("step")) != int(path.stem.removeprefix("step-")):
            warn(f"{path} is a copy of the checkpoint after step {step}: it is left alone")
            continue
        try:
            trainer.restore(arrays, progress)
        except ValueError as problem:
            raise ValueError(f"{path}: {problem}") from None
        files.kept = progress.get("kept") or [step]
        if damaged:
            warn(f"continuing after step {step:,}: any later training is lost, and done again")
        where = "training is done" if trainer.done else f"continuing in epoch {trainer.epoch + 1}"
        return f"{where}, after step {trainer.step:,}"
    if files.weights.exists():
        raise ValueError(
            f"{files.path}: the run is complete, but no checkpoint is left to continue from; to "
            f"repeat it: scratchvae train --config {files.config} --out ANOTHER"
        )
    none = "no checkpoint is sound" if damaged else "there is no checkpoint yet"
    if damaged or files.history.exists():
        warn(f"{none}: starting from the beginning; the training so far is lost")
    return f"{none}: starting from the beginning"


def _finished_step(files: RunFolder) -> int | None:
    """The last step of the training that left weights.safetensors, which stays until there are new
    ones. ValueError if it is another run's."""
    try:
        _, texts = read_tensors(files.weights, "resume")
    except FileNotFoundError:
        return None
    except ValueError as problem:
        warn(f"{problem}; the run writes new ones at its end")
        return None
    check_identity(files.weights, texts, files.identities)
    return int(texts[LAST_STEP]) if LAST_STEP in texts else None


def _check_best(trainer: Trainer, files: RunFolder, anyway: bool) -> dict[str, list[Any]]:
    """Look for the weights of the best epoch, now rather than at the end. Damaged if they are lost;
    with `anyway` a warning: the best epoch is the best of those to come, or the last one."""
    if trainer.held_out != "validation" or math.isinf(trainer.best_score):
        return {}
    try:
        find_best(trainer, files)
    except Damaged as problem:
        if not anyway:
            raise Damaged(f"{problem}; to continue without the best ones: --anyway") from None
        warn(str(problem))
        change = [trainer.best_epoch, trainer.epoch]
        trainer.best_epoch, trainer.best_score = trainer.epoch, math.inf
        return {"best_epoch": change}
    return {}


def _note_changes(
    before: Config,
    others: dict[str, list[Any]],
    trainer: Trainer,
    files: RunFolder,
    about: dict[str, Any],
    say: Say,
) -> None:
    """Record and report the changed options and `others`; ValueError if `epochs` is too small, or
    if a change has no effect, because training is done."""
    now, begun = trainer.config, trainer.epoch + (trainer.batch > 0)
    if now.epochs < begun:
        raise ValueError(f"epochs must be at least {begun} (already begun), got {now.epochs}")
    old, new = before.to_json(), now.to_json()
    changed = others | {name: [old[name], new[name]] for name in old if old[name] != new[name]}
    shorter = now.epochs < before.epochs or (now.patience or MOST) < (before.patience or MOST)
    if trainer.done and not shorter and (without := FOR_TRAINING & changed.keys()):
        why, more = f"all {now.epochs} epochs are done", f"--epochs {2 * now.epochs}"
        if trainer.out_of_patience:
            why, more = _impatience(trainer)
        options = " and ".join(f"--{name.replace('_', '-')}" for name in sorted(without))
        raise ValueError(
            f"{files.path}: {options} would have no effect: {why}; give also, for example, {more}"
        )
    if changed:
        changes = [*about["changes"], {"step": trainer.step} | changed]
        files.write_config(now, about | {"changes": changes})
        words = [f"{name} {a} -> {b}" for name, (a, b) in changed.items()]
        say(f"changed after step {trainer.step:,}: {', '.join(words)}")


def _run(trainer: Trainer, files: RunFolder, say: Say, bar: bool) -> dict[str, Any]:
    """Train with checkpoints, then write the results."""
    config = trainer.config
    # No NumPy warnings about values that are not finite: the trainer checks the losses. Another
    # thread that trains at the same time may use only this engine.
    with (
        using(config.engine, tf32=config.tf32),
        asked_to_stop() as asked,
        np.errstate(all="ignore"),
    ):
        try:
            if trainer.step:  # a killed process may have written a checkpoint but no history
                _save(trainer, files)
            while not trainer.done and not asked:
                _epoch(trainer, files, say, bar, asked)
            asked.interrupt_from_now_on()
            metrics = leave_results(trainer, files)
            files.finished = None
            files.delete_old(trainer.config.keep)
            if trainer.out_of_patience:
                why, more = _impatience(trainer)
                kept = f"the weights are those of epoch {trainer.best_epoch}"
                say(f"{why}; {kept}{_how_to_continue(files)} {more}")
            return metrics
        except FloatingPointError as problem:
            raise FloatingPointError(_divergence(trainer, files, problem)) from None
        except OSError as problem:
            why = f"{problem.strerror or problem}; {_last_good(files)}{_how_to_continue(files)}"
            raise OSError(problem.errno, why, problem.filename) from problem
        except StopNow:
            where = f"in epoch {trainer.epoch + 1}"
            if trainer.done:
                where = "before the results were written"
            message = f"stopped {where}, after step {trainer.step:,}; everything is saved"
            raise Stopped(message + _how_to_continue(files), asked.signal) from None


def _epoch(trainer: Trainer, files: RunFolder, say: Say, bar: bool, asked: Asked) -> None:
    """The rest of an epoch, or the part of it before a signal; either is saved."""
    title, total, done = f"epoch {trainer.epoch + 1}", trainer.steps_per_epoch, trainer.batch
    with progress(None, title, bar, total=total, initial=done) as shown:
        for _ in trainer.steps():
            shown.update()
            if asked:
                _save(trainer, files)
                return
            if trainer.step % trainer.config.checkpoint_every == 0:
                _save(trainer, files)
    line = trainer.end_epoch()
    if trainer.epoch in trainer.config.pictures:  # first: after the checkpoint, none would be drawn
        name = f"epoch-{trainer.epoch:04}-"
        draw(files, partial(leave_pictures, trainer, files.pictures, name))
    _save(trainer, files)
    kl = isinstance(trainer.model, VAE)
    parts = [
        f"{part} {in_words(Losses(*(line[f'{part}_{name}'] for name in Losses._fields)), kl)}"
        for part in ("train", trainer.held_out)
    ]
    say(f"epoch {trainer.epoch:2}  {'  '.join(parts)}")


def _save(trainer: Trainer, files: RunFolder) -> None:
    """Write a checkpoint and the history, and delete old checkpoints."""
    judged = trainer.batch == 0 and trainer.held_out == "validation"
    best = judged and trainer.best_epoch == trainer.epoch
    files.save(*trainer.checkpoint(), best)
    files.write_history(trainer.history)
    files.delete_old(trainer.config.keep)


def _introduction(trainer: Trainer, data: Dataset) -> str:
    config, model = trainer.config, trainer.model
    return (
        f"{config.model}: {model.flat_value.size:,} parameters, engine {config.engine}; "
        f"{data.name}: {trainer.train_count:,} training images, "
        f"{len(trainer.held_out_images):,} {trainer.held_out} images; "
        f"losses in {model.loss_unit}"
    )


def _impatience(trainer: Trainer) -> tuple[str, str]:
    """Why the training ended before its last epoch, and the option that continues it."""
    best, patience = trainer.best_epoch, trainer.config.patience or 0
    used = trainer.epoch - best
    why = (
        f"stopped after epoch {trainer.epoch} of {trainer.config.epochs}, because {used} epochs "
        f"had no better validation loss than epoch {best} (patience {patience})"
    )
    return why, f"--patience {used + patience}"


def _divergence(trainer: Trainer, files: RunFolder, problem: FloatingPointError) -> str:
    """Where, why, and what is left. On the GPU the steps do not name a tensor, so do it here."""
    found = ""
    if trainer.model.device == "cuda":
        bad = (name for name, p in trainer.model.parameters().items() if not finite(p.value))
        found = f"; now {name} is not finite" if (name := next(bad, None)) else ""
    epoch = trainer.epoch + 1
    return f"training diverged in epoch {epoch}: {problem}{found}; {_last_good(files)}"


def _last_good(files: RunFolder) -> str:
    last = next(iter(files.all_checkpoints()), None)
    return f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"


def _how_to_continue(files: RunFolder) -> str:
    """The command that continues the run, if its folder still exists."""
    command = f"scratchvae train --resume {shlex.quote(str(files.path))}"
    return f"; to continue: {command}" if files.config.exists() else ""
