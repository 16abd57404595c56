"""Train in a folder, to the end or to the next signal; and go on from there.

    train(config, folder)    begins
    resume(folder)           goes on, as if it had never stopped

A signal lets the step at hand finish; then everything is saved (see stopping.py).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from tqdm import tqdm

from ..data import Dataset
from .checkpoint import read_checkpoint, to_bytes
from .config import Config
from .environment import differences, environment
from .preparing import about_data, data_in_words, prepared_for, same_data, table
from .results import leave_pictures, leave_results
from .run import RunFolder
from .sentences import diverged, farewell, go_on, introduction, kept, line
from .signals import Asked, StopNow, Stopped, asked_to_stop
from .trainer import Trainer

Say = Callable[[str], None]
MAY_CHANGE = {"epochs", "engine", "data", "data_dir", "lr", "clip_norm"}  # when a run goes on


def train(
    config: Config, folder: str | os.PathLike[str], say: Say = print, bar: bool = True
) -> dict[str, Any]:
    """Train from the beginning, and leave a run in the folder (see folder.py).

    Parameters
    ----------
    config : Config
    folder : str or path-like
        Made if need be. It must not hold a run.
    say : callable
        Is told how it goes, a line at a time.
    bar : bool
        Draw a progress bar, if there is a terminal.

    Returns
    -------
    dict
        What metrics.json holds.

    Raises
    ------
    Stopped
        After SIGINT or SIGTERM, when all is saved.
    FloatingPointError
        If the training diverged; says where, and which checkpoint is the last good one.
    FileExistsError, RuntimeError
        If there is a run in the folder, or another process trains there.
    OSError
        If a file cannot be written; names it, and the last good checkpoint.
    ValueError, MemoryError
        If data, config or folder are not what they must be.
    """
    run_folder = RunFolder(folder)
    config, data = prepared_for(config)
    trainer = Trainer(config, data)  # what does not fit should not leave a folder
    facts = {"environment": environment(config.engine), "data": about_data(data)}
    run_folder.refuse_pictures()
    run_folder.make()
    with run_folder.locked():
        run_folder.sweep()  # a process may have been killed before there was a run to resume
        run_folder.begin(config, facts)
        say(introduction(trainer, data))
        return _run(trainer, data, run_folder, say, bar)


def resume(
    folder: str | os.PathLike[str], say: Say = print, bar: bool = True, **changes: Any
) -> dict[str, Any]:
    """Go on with the run in the folder from its last good checkpoint.

    On the same machine, with the same engine, versions and number of threads, every number comes
    out as if the run had never stopped; differences are announced.

    Parameters
    ----------
    folder : str or path-like
    say : callable
        Is told how it goes, a line at a time.
    bar : bool
        Draw a progress bar, if there is a terminal.
    **changes
        Options that may be another: `epochs`, to train longer; `engine`; `data` and `data_dir`,
        where the same data lie elsewhere now; `lr` and `clip_norm`, after a divergence. They are
        announced, and config.json says at which step.

    Returns
    -------
    dict
        What metrics.json holds.

    Raises
    ------
    ValueError
        Also if the data set is not the one that the run was begun with, if there are weights but no
        checkpoint to go on from, or if more epochs are done than asked for.
    TypeError
        If another option is to change.
    Stopped, FloatingPointError, RuntimeError, OSError, MemoryError
        As in `train`.
    """
    if fixed := changes.keys() - MAY_CHANGE:
        raise TypeError(f"resume: expected changes among {MAY_CHANGE}, got {', '.join(fixed)}")
    run_folder = RunFolder(folder)
    config, facts = run_folder.read_config()
    with run_folder.locked():
        run_folder.sweep()
        run_folder.make()  # whoever deletes the checkpoints begins again
        prepared, data = prepared_for(replace(config, **changes))
        if not same_data(facts.get("data"), about_data(data)):
            raise ValueError(
                f"{run_folder.path}: the data set has changed: the run was begun with "
                f"{data_in_words(facts.get('data'))}, this is {data_in_words(about_data(data))}"
            )
        if elsewhere := differences(table(facts.get("environment")), environment(prepared.engine)):
            say(f"not where this run began ({', '.join(elsewhere)}): last digits may differ")
        trainer = Trainer(prepared, data)
        say(introduction(trainer, data))
        say(_restore(trainer, run_folder, say))
        _note_changes(config, trainer, run_folder, facts, say)
        return _run(trainer, data, run_folder, say, bar)


def _note_changes(
    before: Config, trainer: Trainer, folder: RunFolder, facts: dict[str, Any], say: Say
) -> None:
    """Tell of options that are not those of before, and write down from which step on."""
    now, epochs_begun = trainer.config, trainer.epoch + (trainer.batch > 0)
    assert now.epochs is not None
    if now.epochs < epochs_begun:
        raise ValueError(f"epochs: {epochs_begun} have begun already, got {now.epochs}")
    old, new = before.to_json(), now.to_json()
    if changed := {name: [old[name], new[name]] for name in old if old[name] != new[name]}:
        earlier = facts.get("changes") if isinstance(facts.get("changes"), list) else []
        facts = facts | {"changes": [*(earlier or []), {"step": trainer.step} | changed]}
        folder.write_config(now, facts)
        words = [f"{name} {a} -> {b}" for name, (a, b) in changed.items()]
        say(f"changed after step {trainer.step:,}: {', '.join(words)}")


def _run(trainer: Trainer, data: Dataset, folder: RunFolder, say: Say, bar: bool) -> dict[str, Any]:
    """Epoch after epoch, with checkpoints in between; then the results."""
    # NumPy's warnings of what is not finite: the loss is looked at, and its error says more.
    with asked_to_stop() as asked, np.errstate(all="ignore"):
        try:
            if trainer.step:  # killed before, maybe between a checkpoint and what goes with it
                save(trainer, folder)
            if not trainer.done:
                folder.forget_results()  # of an earlier end: they would be taken for the last
            while not trainer.done and not asked:
                _epoch(trainer, folder, say, bar, asked)
            asked.interrupt_from_now_on()
            return leave_results(trainer, data, folder)
        except FloatingPointError as problem:
            raise FloatingPointError(diverged(trainer, folder, problem)) from None
        except OSError as problem:
            why = f"{problem.strerror or problem}; {kept(folder)}{go_on(folder)}"
            raise OSError(problem.errno, why, problem.filename) from problem
        except StopNow:
            raise Stopped(farewell(trainer, folder), asked.signal) from None


def _epoch(trainer: Trainer, folder: RunFolder, say: Say, bar: bool, asked: Asked) -> None:
    """The rest of an epoch, or what can be done of it; either is saved."""
    with _bar(trainer, bar) as progress:
        for _ in trainer.steps():
            progress.update()
            if asked:
                save(trainer, folder)
                return
            if trainer.step % trainer.config.checkpoint_every == 0:
                save(trainer, folder)
    numbers = trainer.end_epoch()
    if trainer.epoch in trainer.config.pictures:  # before the checkpoint, after which nobody would
        folder.pictures.mkdir(exist_ok=True)
        leave_pictures(trainer, folder.pictures, f"epoch-{trainer.epoch:04}-")
    save(trainer, folder)
    say(line(trainer, numbers))


def save(trainer: Trainer, folder: RunFolder) -> None:
    """A checkpoint, the history, and the old checkpoints gone."""
    content = to_bytes(*trainer.state())
    folder.write(str(folder.checkpoint(trainer.step).relative_to(folder.path)), content)
    if trainer.batch == 0 and trainer.held_out == "validation" and trainer.is_best:
        folder.write(str(folder.best.relative_to(folder.path)), content)
    folder.write_history(trainer.history)
    folder.keep_last(trainer.config.keep)


def _restore(trainer: Trainer, folder: RunFolder, say: Say) -> str:
    """Take up the newest checkpoint that is sound; a damaged one is told of, and put aside."""
    checkpoints = folder.all_checkpoints()
    for path in checkpoints:
        try:
            trainer.restore(*read_checkpoint(path))
            where = "all is trained" if trainer.done else f"going on in epoch {trainer.epoch + 1}"
            return f"{where}, after step {trainer.step:,}"
        except ValueError as problem:
            say(f"put aside as {folder.put_aside(path).name}: {problem}")
    if folder.weights.exists():
        raise ValueError(
            f"{folder.path}: the run was done, its weights are there, but no checkpoint to go on "
            f"from; to make it again: scratchvae train --config {folder.config} --out ANOTHER"
        )
    none = "no checkpoint is sound" if checkpoints else "there is no checkpoint yet"
    return f"{none}: from the beginning"


def _bar(trainer: Trainer, wanted: bool) -> Any:
    """A progress bar on a terminal; nothing elsewhere."""
    return tqdm(
        desc=f"epoch {trainer.epoch + 1}", total=trainer.steps_per_epoch, initial=trainer.batch,
        leave=False, disable=None if wanted else True, file=sys.stderr,
    )  # fmt: skip
