"""A run is a folder that stays readable if the process is killed or the machine fails.

    config.json             all options, environment, data: enough to repeat the run
    history.csv             a line for each epoch
    checkpoints/            step-000000468.safetensors, ...: the latest ones
        best.safetensors    the one with the best validation loss (with `validation`)
    pictures/               epoch-0005-samples.png, ...: of the epochs in `pictures`
    loss.png  reconstructions.png  samples.png  ...    at the end
    weights.safetensors  metrics.json                   at the end
    lock                    locked by the process that trains here

`RunFolder` writes each file whole (see output.py); `open_run` reads a trained model.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import use
from ..data import Dataset
from ..data.images import SUFFIXES
from ..models import Model, build
from ..models.weights import load_weights
from ..output import lock, note, remove_left_behind, write_atomically
from .checkpoint import below, take_first
from .config import FORMAT, Config, read_config
from .data import check_shape, load_data, test_images
from .environment import about_data, data_in_words, same_data


class RunFolder:
    """The files of one run, in a folder that may not exist yet."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoints, self.pictures = self.path / "checkpoints", self.path / "pictures"
        self.weights, self.metrics = self.path / "weights.safetensors", self.path / "metrics.json"
        self.history, self.lock = self.path / "history.csv", self.path / "lock"
        self.config, self.best = self.path / "config.json", self.checkpoints / "best.safetensors"

    def make(self) -> None:
        """Make the folders. FileExistsError if the folder contains pictures but no run."""
        if self.path.exists() and not self.config.exists():
            found = sorted(n for n in os.listdir(self.path) if n.lower().endswith(SUFFIXES))
            if found:
                raise FileExistsError(
                    f"{self.path} is a folder of pictures ({found[0]}, ...): choose another folder"
                )
        self.checkpoints.mkdir(parents=True, exist_ok=True)

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
        with open(self.lock, "a+b") as file:
            if not lock(file, wait=False):
                file.seek(0)
                who = file.read(20).decode(errors="replace").strip() or "unknown"
                raise RuntimeError(
                    f"{self.path}: another process (PID {who}) is training in this folder; wait "
                    "for it, or choose another folder"
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            for folder in (self.path, self.checkpoints, self.pictures):
                remove_left_behind(folder)
            yield

    def remove_begun(self) -> None:
        """Remove what `make`, `locked` and `begin` wrote, after a failure before the first step."""
        for path in (self.config, self.lock):
            path.unlink(missing_ok=True)
        with suppress(OSError):  # the folder holds files of the user's
            self.checkpoints.rmdir()
            self.path.rmdir()

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
        self.write_config(config, about)

    def write_config(self, config: Config, about: dict[str, Any]) -> None:
        """Replace config.json; `about` is its table `run`: environment, data, changes."""
        content = {"format": FORMAT, "options": config.to_json(), "run": about}
        write_atomically(self.config, (json.dumps(content, indent=1) + "\n").encode())

    def read_config(self) -> tuple[Config, dict[str, Any]]:
        """Read config.json; FileNotFoundError: no run here; ValueError: the file is damaged."""
        try:
            return read_config(self.config)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path} is not a run: it has no config.json") from None

    def write_history(self, history: list[dict[str, float]]) -> None:
        """history.csv: a column for each number, a line for each epoch, floats in full."""
        rows: list[list[Any]] = [["epoch", *line] for line in history[:1]]
        rows += [[epoch, *map(repr, line.values())] for epoch, line in enumerate(history, 1)]
        text = io.StringIO(newline="")
        csv.writer(text).writerows(rows)
        write_atomically(self.history, text.getvalue().encode())

    def checkpoint(self, step: int) -> Path:
        """The file of the checkpoint after this many steps."""
        return self.checkpoints / f"step-{step:09}.safetensors"

    def all_checkpoints(self) -> list[Path]:
        """The checkpoints after a number of steps, the last one first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True)


@dataclass(frozen=True)
class Run:
    """A trained model in evaluation mode, its config and its files; see `open_run`."""

    folder: Path
    config: Config
    model: Model
    weights: Path
    trained_on: dict[str, Any] = field(default_factory=dict)  # `about_data`; empty: unknown

    @cached_property
    def _data(self) -> Dataset:
        data = load_data(self.config)
        check_shape(self.config, data)
        if self.trained_on and not same_data(self.trained_on, now := about_data(data)):
            note(
                f"warning: the data set has changed since the training ("
                f"{data_in_words(self.trained_on)}; now {data_in_words(now)}): its test images may "
                "be training images"
            )
        return data

    def load_data(self) -> Dataset:
        """The run's data set, never binarized; loaded once. A warning on stderr says if it has
        changed since the training. Raises as `data.load`; ValueError also if the images do not have
        the model's shape, or came from Python."""
        return self._data

    def test_images(self) -> np.ndarray:
        """The uint8 test images of the run, with its draw of black and white if it binarizes.
        Raises as `load_data`."""
        return test_images(self.config, self._data)


def open_run(folder: str | os.PathLike[str], engine: str = "auto", tf32: bool = False) -> Run:
    """Build the model of a run and load its weights.

    Parameters
    ----------
    folder : str or path-like
        A finished run, or an unfinished one, of which the best or latest checkpoint is loaded.
    engine, tf32
        As for `use`.

    Raises
    ------
    FileNotFoundError
        If there is no run, or no weights yet.
    ValueError
        If a file is damaged.
    """
    files = RunFolder(folder)
    config, about = files.read_config()
    engine = use(engine, tf32=tf32)
    if config.image_shape is None:
        raise ValueError(f"{files.path}: config.json has no image_shape")
    model = build(config.model, **config.model_options())
    if engine == "cuda":
        model.to("cuda")
    if (weights := files.weights).exists():
        load_weights(model, weights)
    else:
        paths = [path for path in (files.best, *files.all_checkpoints()) if path.exists()]
        found, refused = take_first(
            paths, lambda arrays, _: model.load_state_dict(below("model.", arrays))
        )
        if found is None:
            why = f": {refused[paths[0]]}" if paths else ""
            raise FileNotFoundError(f"{files.path}: no weights and no sound checkpoint yet{why}")
        weights = found
    model.eval()
    # A script may train on only some images of the data set that its config names.
    recorded = {} if about.get("by_script") else about.get("data", {})
    trained_on = recorded if "sha256" in recorded else {}
    return Run(files.path, config, model, weights, trained_on)
