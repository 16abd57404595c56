"""A run is a folder that stays readable if the process is killed or the machine fails.

    config.json             all options, environment, data: enough to repeat the run
    history.csv             a line for each epoch
    checkpoints/            step-000000468.safetensors, ...: the latest ones
        best.safetensors    the one with the best validation loss (with `validation`)
    pictures/               epoch-0005-samples.png, ...: of the epochs in `pictures`
    weights.safetensors  metrics.json                   at the end
    loss.png  reconstructions.png  samples.png  ...    at the end
    lock                    locked by the process that trains here

Checkpoints and weights name the run they belong to (`config.identities`); another run's are
refused. `RunFolder` writes each file whole (see output.py); `open_run` reads a trained model.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np

from ..backend import use
from ..data import Dataset
from ..data.images import SUFFIXES
from ..models import Model, build
from ..models.inspect import finite
from ..models.weights import load_weights
from ..output import open_file, remove_left_behind, warn, write_atomically
from .checkpoint import Arrays, below, read_checkpoint, to_bytes
from .config import MOST_BYTES, Config, check_identity, config_text, identities, read_config
from .data import check_shape, load_data, test_images
from .environment import about_data, changed_data, same_data
from .lock import Lock

STEP = re.compile(r"step-(\d{9,18})\.safetensors")
LAST_STEP = "last_step"  # of the training, which may be later than that of the best weights


class RunFolder:
    """The files of one run, in a folder that may not exist yet.

    Once config.json is written or read, `known` is its content, and `identities` are what the other
    files may say of their origin.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        if not os.fspath(path):
            raise ValueError("expected the folder of a run, got an empty path")
        self.path = Path(path)
        self.checkpoints, self.pictures = self.path / "checkpoints", self.path / "pictures"
        self.weights, self.metrics = self.path / "weights.safetensors", self.path / "metrics.json"
        self.history, self.lock = self.path / "history.csv", self.path / "lock"
        self.config, self.best = self.path / "config.json", self.checkpoints / "best.safetensors"
        self.known: tuple[Config, dict[str, Any]] | None = None
        self.identities: list[dict[str, str]] = [{}]
        self.kept: list[int] = []  # the steps of the checkpoints that this run wrote and keeps
        self.finished: int | None = None  # the last step of the training that left the weights
        self._owned: Lock | None = None

    # ------------------------------------------------------------------ one owner

    def make(self) -> None:
        """Make the folders. FileExistsError if the folder contains pictures but no run."""
        if self.path.exists() and not self.config.exists():
            found = sorted(n for n in os.listdir(self.path) if n.lower().endswith(SUFFIXES))
            if found:
                raise FileExistsError(
                    f"{self.path} is a folder of pictures ({found[0]}, ...): choose another folder"
                )
        self.check_names()
        self.checkpoints.mkdir(parents=True, exist_ok=True)

    def check_names(self) -> None:
        """OSError if a file of the run is a link, through which another file would be written, or a
        folder."""
        files = (self.config, self.history, self.weights, self.metrics, self.best, self.lock)
        drawn = *self.path.glob("*.png"), *self.pictures.glob("*.png")
        for path in (*files, self.pictures, self.checkpoints, *self.all_checkpoints(), *drawn):
            if path.is_dir() and path in files:
                raise IsADirectoryError(
                    f"{path} is a folder, where a file of the run belongs: move it, or choose "
                    "another folder"
                )
            if path.is_symlink():
                raise OSError(
                    f"{path} is a link to {os.readlink(path)}: a run keeps its files in its own "
                    "folder; remove the link, or choose another folder"
                )

    def check_no_training(self) -> None:
        """FileExistsError if the folder contains a run of `train`, not one that `begin` made."""
        by_script = not self.config.exists() or self.read_config()[1].get("by_script")
        if not by_script or self.all_checkpoints():
            raise FileExistsError(
                f"{self.path} contains a run of `scratchvae train`: choose another folder"
            )

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process, and delete what killed ones left behind.
        RuntimeError if another process holds the lock."""
        with Lock(self.lock) as self._owned:
            try:
                for folder in (self.path, self.checkpoints, self.pictures):
                    remove_left_behind(folder)
                yield
            finally:
                self._owned = None

    def check_owner(self) -> None:
        """NotOurs if this process has locked the folder, but it is no longer the same one."""
        if self._owned is not None:
            self._owned.check()

    # ------------------------------------------------------------------ config.json

    def begin(self, config: Config, about: dict[str, Any]) -> None:
        """Write the config of a new run; FileExistsError if a run or its checkpoints exist."""
        if self.config.exists():
            raise FileExistsError(
                f"{self.path} already contains a run: continue it with --resume {self.path}, or "
                "choose another folder"
            )
        if self.all_checkpoints() or self.best.exists():
            raise FileExistsError(
                f"{self.checkpoints} contains checkpoints of a run whose config.json is lost: "
                "choose another folder"
            )
        self.write_config(config, {"id": token_hex(16), "changes": [], **about})

    def remove_begun(self) -> None:
        """Remove what `make`, `locked` and `begin` wrote, after a failure before the first step."""
        for path in (self.config, self.lock):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder holds files of the user's
            self.checkpoints.rmdir()
            self.path.rmdir()

    def write_config(self, config: Config, about: dict[str, Any]) -> None:
        """Replace config.json; `about` is its table `run`: id, environment, data, changes."""
        self.write(self.config, config_text(config, about))
        self.known, self.identities = (config, about), identities(config, about)

    def read_config(self) -> tuple[Config, dict[str, Any]]:
        """Read config.json; FileNotFoundError: no run here; ValueError: the file is damaged."""
        try:
            config, about = read_config(self.config)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} is not a run: it has no config.json") from None
        self.known, self.identities = (config, about), identities(config, about)
        return config, about

    # ------------------------------------------------------------------ other files

    def write(self, path: Path, content: str | bytes) -> None:
        """Write a file of the run whole; raises as `check_owner` and `whole_file`."""
        self.check_owner()
        write_atomically(path, content.encode() if isinstance(content, str) else content)

    def write_history(self, history: list[dict[str, float]]) -> None:
        """history.csv: a column for each number, a line for each epoch, floats in full."""
        rows: list[list[Any]] = [["epoch", *line] for line in history[:1]]
        rows += [[epoch, *map(repr, line.values())] for epoch, line in enumerate(history, 1)]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        self.write(self.history, text.getvalue())

    def checkpoint(self, step: int) -> Path:
        """The file of the checkpoint after this many steps."""
        return self.checkpoints / f"step-{step:09}.safetensors"

    def all_checkpoints(self) -> list[Path]:
        """The checkpoints after a number of steps, the last one first."""
        names = os.listdir(self.checkpoints) if self.checkpoints.is_dir() else []
        steps = {int(found[1]) for name in names if (found := STEP.fullmatch(name))}
        return [
            path for s in sorted(steps, reverse=True) if (path := self.checkpoint(s)).name in names
        ]

    def read_checkpoint(self, path: Path) -> tuple[Arrays, dict[str, Any]]:
        """A checkpoint of this run. Damaged: it is damaged or missing; ValueError: it is another
        run's."""
        try:
            arrays, progress = read_checkpoint(path)
        except FileNotFoundError:
            raise Damaged(f"there is no {path}") from None
        except ValueError as problem:
            raise Damaged(str(problem)) from None
        check_identity(path, progress, self.identities)
        return arrays, progress

    def save(self, arrays: Arrays, progress: dict[str, Any], best: bool) -> None:
        """Write a checkpoint; if it is the `best` one, also as that."""
        step = progress["step"]
        path, steps = self.checkpoint(step), sorted({*self.kept, step})
        if step not in self.kept and path.exists():  # a file of the user's
            aside = self.put_aside(path, "copy")
            warn(f"{path} is no checkpoint of this run: renamed to {aside.name}")
        content = to_bytes(arrays, progress | self.identities[0] | {"kept": steps})
        self.write(path, content)
        if best:
            self.write(self.best, content)
        self.kept = steps

    def delete_old(self, keep: int) -> None:
        """Delete the checkpoints of this run before the last `keep`; not that of a finished run
        whose results are still there."""
        for step in self.kept[:-keep]:
            if step != self.finished:
                self.checkpoint(step).unlink(missing_ok=True)
                self.kept.remove(step)

    def put_aside(self, path: Path, why: str) -> Path:
        """Rename a file so that it does not count as a checkpoint: step-....safetensors.WHY."""
        names = (f"{path.name}.{why}{n or ''}" for n in count())
        return path.rename(next(a for name in names if not (a := path.with_name(name)).exists()))


class Damaged(ValueError):
    """A checkpoint is not what a run wrote."""


@dataclass(frozen=True)
class Run:
    """A trained model in evaluation mode, its config and its files; see `open_run`."""

    folder: Path
    config: Config
    model: Model
    weights: Path
    trained_on: dict[str, Any] = field(default_factory=dict)  # `about_data`; empty: unknown
    anyway: bool = False  # other data are only a warning

    @cached_property
    def _data(self) -> tuple[Dataset, bool]:
        """The data set, and whether it is the one of the training, as far as that is known."""
        data, same = load_data(self.config), True
        if before := self.trained_on:
            now = about_data(data, self.config.data, self.config.image_options())
            same = check_same_data(str(self.folder), before, now, self.anyway)
        check_shape(self.config, data)
        return data, same

    def load_data(self) -> Dataset:
        """The run's data set, never binarized; loaded once. Raises as `data.load`; ValueError also
        if the images do not have the model's shape, came from Python, or are not those of the
        training (with `anyway` a warning: its test images may be training images)."""
        return self._data[0]

    def data_changed(self) -> bool:
        """Whether the data set is not the one of the training; raises as `load_data`."""
        return not self._data[1]

    def test_images(self) -> np.ndarray:
        """The uint8 test images of the run, with its draw of black and white if it binarizes.
        Raises as `load_data`."""
        return test_images(self.config, self.load_data())


def check_same_data(name: str, before: dict[str, Any], now: dict[str, Any], anyway: bool) -> bool:
    """Whether a run's data set, by `about_data`, is the one that it was trained on. Otherwise
    ValueError, which begins with `name`; with `anyway` a warning."""
    if not before or same_data(before, now):  # nothing is known about data of a user's config.json
        return True
    problem = f"{name}: the data set has changed: {changed_data(before, now)}"
    if not anyway:
        raise ValueError(
            f"{problem}; restore the data, or use these with --anyway (anyway=True in Python)"
        )
    warn(f"{problem}; its test images may be training images")
    return False


def open_run(
    folder: str | os.PathLike[str],
    engine: str = "auto",
    tf32: bool = False,
    anyway: bool = False,
) -> Run:
    """Build the model of a run and load its weights.

    Parameters
    ----------
    folder : str or path-like
        A finished run, or an unfinished one, of which the best or latest checkpoint is loaded.
    engine, tf32
        As for `use`.
    anyway : bool
        Use the data set even if it is not the one that the run was trained on.

    Raises
    ------
    FileNotFoundError
        If there is no run, or no weights yet.
    ValueError
        If a file is damaged or edited, or belongs to another run.
    """
    files = RunFolder(folder)
    config, about = files.read_config()
    engine = use(engine, tf32=tf32)
    if config.image_shape is None:
        raise ValueError(f"{files.path}: config.json has no image_shape")
    model = build(config.model, **config.model_options())
    if engine == "cuda":
        model.to("cuda")
    weights = files.weights
    if weights.exists():
        texts = load_weights(model, weights)
        check_identity(weights, texts, files.identities)
        _check_old_weights(weights, texts, config)
        _check_metrics(files, texts)
    else:
        weights = _load_checkpoint(model, files)
    for name, a in model.state_dict().items():
        if not finite(a):
            raise ValueError(f"{weights}: {name} is not finite: the training diverged")
    model.eval()
    trained_on = about["data"] if "sha256" in about["data"] else {}
    # A script may train on only some images of the data set that its config names.
    anyway = anyway or bool(about.get("by_script"))
    return Run(files.path, config, model, weights, trained_on, anyway)


def _check_old_weights(path: Path, texts: dict[str, str], config: Config) -> None:
    """ValueError if weights of version 0.1, whose header has all options, have others."""
    for name in ("seed", "batch_size", "optimizer", "binarize", "validation", "dtype"):
        mine = str(getattr(config, name))
        if "run_id" not in texts and texts.get(name, mine) != mine:
            raise ValueError(
                f"{path} was written with {name} {texts[name][:80]}, but config.json has {mine}: "
                "put the run's own file back"
            )


def _check_metrics(files: RunFolder, texts: dict[str, str]) -> None:
    """A warning if metrics.json is of a longer or shorter training than the weights."""
    try:
        with open_file(files.metrics, MOST_BYTES) as file:
            last = json.load(file)[LAST_STEP]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return  # it is missing, old, or not needed here
    if str(last) != texts.get(LAST_STEP, str(last)):
        warn(
            f"{files.weights} is of a training of {texts[LAST_STEP]} steps, metrics.json of one "
            f"of {last}: `scratchvae train --resume {files.path}` writes both again"
        )


def _load_checkpoint(model: Model, files: RunFolder) -> Path:
    """Load the best checkpoint, or else the latest sound one, and say which are damaged."""
    why = ""
    for path in (files.best, *files.all_checkpoints()):
        if not path.exists():
            continue
        try:
            arrays, _ = files.read_checkpoint(path)
        except Damaged as problem:
            why = f": {problem}"
            warn(f"{problem}; another checkpoint is used, if there is one")
            continue
        model.load_state_dict(below("model.", arrays))
        return path
    raise FileNotFoundError(f"{files.path}: no weights and no sound checkpoint yet{why}")
