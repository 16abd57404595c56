"""A run is a folder, and whatever happens to the machine, the folder stays readable.

    config.json             all options, where it runs, which data: enough to make the run again
    history.csv             a line for each epoch
    checkpoints/            step-000000468.safetensors, ...: the last ones
        best.safetensors    the one with the best validation loss (if there is a validation share)
    pictures/               epoch-0005-samples.png, ...: of the epochs that were asked for
    loss.png  reconstructions.png  samples.png  ...    at the end
    weights.safetensors  metrics.json                   at the end
    lock                    held by the process that trains here

Every file is written beside its place, flushed to the disk and renamed into it: it is the old one
or the new one, never half of it. What a killed process left half-written has a name that is never
read.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..data.images import SUFFIXES
from ..output import left_behind, lock, write_atomically
from .config import FORMAT, MOST_BYTES, Config, read_config


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : str or path-like
        The folder; it need not exist yet.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.checkpoints, self.pictures = self.path / "checkpoints", self.path / "pictures"
        self.weights, self.metrics = self.path / "weights.safetensors", self.path / "metrics.json"
        self.config, self.best = self.path / "config.json", self.checkpoints / "best.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for this process; the system lets go of it when the process dies.

        Raises
        ------
        RuntimeError
            If another process holds it.
        """
        with open(self.path / "lock", "a+b") as file:
            if not lock(file, wait=False):
                file.seek(0)
                who = file.read(20).decode(errors="replace").strip() or "unknown"
                raise RuntimeError(
                    f"{self.path}: another process (number {who}) trains in this folder; wait for "
                    "it, or name another one"
                )
            file.truncate(0)
            file.write(f"{os.getpid()}\n".encode())
            file.flush()
            yield

    def refuse_pictures(self) -> None:
        """FileExistsError if there are somebody's pictures in the folder: those of a run would be
        mixed up with them, and trained on by the next one."""
        if self.path.exists() and not self.config.exists():
            found = sorted(n for n in os.listdir(self.path) if n.lower().endswith(SUFFIXES))
            if found:
                raise FileExistsError(
                    f"{self.path} is a folder of pictures ({found[0]}, ...): name another one"
                )

    def begin(self, config: Config, run: dict[str, Any]) -> None:
        """Write the config of a new run.

        Raises
        ------
        FileExistsError
            If there is a run in the folder already, or what is left of one.
        """
        if not self.config.exists() and (self.all_checkpoints() or self.best.exists()):
            raise FileExistsError(
                f"{self.checkpoints} holds checkpoints of a run whose config.json is lost: name "
                "another folder"
            )
        if self.config.exists():
            raise FileExistsError(
                f"{self.path} holds a run already: go on with --resume {self.path}, or name "
                "another folder"
            )
        self.write_config(config, run)

    def make(self) -> None:
        """The folder and those in it."""
        for folder in (self.path, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)

    def write_config(self, config: Config, run: dict[str, Any]) -> None:
        """Replace config.json; `run` is what else should be known: environment, data, changes."""
        content = {"format": FORMAT, "options": config.to_json(), "run": run}
        self.write("config.json", _json(content))

    def read_config(self) -> tuple[Config, dict[str, Any]]:
        """The config and the facts beside it.

        Raises
        ------
        FileNotFoundError
            If there is no run in this folder.
        ValueError
            If its config.json is damaged.
        """
        try:
            with open(self.config, "rb") as file:
                text = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            raise FileNotFoundError(f"{self.path}: no run here, there is no config.json") from None
        try:
            return read_config(text)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None

    def write(self, name: str, content: bytes) -> None:
        """A whole file or none."""
        write_atomically(self.path / name, content)

    def write_history(self, history: list[dict[str, float]]) -> None:
        """history.csv: a column for each number, a line for each epoch, floats in full."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if history:
            writer.writerow(["epoch", *history[0]])
        writer.writerows(
            [epoch, *map(repr, numbers.values())] for epoch, numbers in enumerate(history, 1)
        )
        self.write("history.csv", text.getvalue().encode())

    def checkpoint(self, step: int) -> Path:
        """The file of the checkpoint after this many steps."""
        return self.checkpoints / f"step-{step:09}.safetensors"

    def all_checkpoints(self) -> list[Path]:
        """Those after a number of steps, the last one first."""
        return sorted(self.checkpoints.glob("step-*.safetensors"), reverse=True)

    def keep_last(self, count: int) -> None:
        """Delete all but the last `count` checkpoints."""
        for path in self.all_checkpoints()[count:]:
            path.unlink(missing_ok=True)

    def put_aside(self, path: Path) -> Path:
        """Give a damaged checkpoint a name that is never read: it would count as the last one, and
        sound ones would be deleted before it. Returns the new name."""
        return path.rename(path.with_name(f"{path.name}.damaged"))

    def forget_results(self) -> None:
        """Delete weights.safetensors and metrics.json: the checkpoints have what is in them."""
        for path in (self.weights, self.metrics):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Delete what a killed process left half-written."""
        for folder in (self.path, self.checkpoints, self.pictures):
            for path in left_behind(folder):
                path.unlink(missing_ok=True)


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
