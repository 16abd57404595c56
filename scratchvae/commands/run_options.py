"""What the commands share that look at a run: RUN itself, its data, and where results may go."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..runs import Run, RunFolder, open_run
from .options import engine_options

OWN = ("config.json", "history.csv", "metrics.json", "weights.safetensors", "lock")  # of a run


def run_options(parser: Any) -> None:
    """Add RUN, where its data are now, and the engine, for `open_for`."""
    option = parser.add_argument
    option("folder", type=Path, metavar="RUN", help="folder of a run")
    option("--data", metavar="NAME", help="the data set under another name (the run's)")
    option(
        "--data-dir", metavar="DIR", help="folder with its files, if they have moved (the run's)"
    )
    engine_options(parser)


def open_for(args: argparse.Namespace) -> Run:
    """The run as `run_options` say: its data may be elsewhere than where it was trained."""
    run = open_run(args.folder, args.engine, args.tf32)
    where: dict[str, Any] = {}
    if args.data is not None:  # the run's folder is that of the other name
        where = {"data": args.data, "data_dir": None}
    if args.data_dir is not None:
        where["data_dir"] = args.data_dir
    return replace(run, config=replace(run.config, **where))


def check_place(path: Path, run: Path) -> None:
    """Make sure, before anything is computed, that a result may be written here.

    Raises
    ------
    FileNotFoundError
        If the folder does not exist.
    ValueError
        If it is a file that the run needs, or among its checkpoints.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent} to write into")
    place, folder = path.resolve(), RunFolder(run.resolve())
    checkpoints = folder.checkpoints.resolve()
    if place in [(folder.path / name).resolve() for name in OWN] or checkpoints in place.parents:
        raise ValueError(f"{path}: this file belongs to the run: expected another name")
