"""What the commands share: parser, number types, options and output.

Results go to standard output (with `--json`, one JSON object), other messages to standard error.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..backend import ENGINES
from ..output import check_regular, tell, to_json
from ..output import note as say
from ..runs import Config, Run, RunFolder, open_run
from ..runs.config import IMAGE_OPTIONS

TF32_HELP = "cuda: use TF32 in linear layers: faster, less precise"
COLOURS = {"red": 31, "yellow": 33}  # ANSI codes


class CommandParser(argparse.ArgumentParser):
    """The parser of `scratchvae`, of a command, or of its subcommand (`data list`).

    It adds the options of all parsers; `args.parser` is the parser of the command that runs.
    """

    def __init__(self, description: str = "", **options: Any) -> None:
        width = max(20, shutil.get_terminal_size().columns - 2)  # as argparse does for the options
        super().__init__(
            description=textwrap.fill(description, width),
            formatter_class=argparse.RawDescriptionHelpFormatter,  # examples keep their lines
            **options,
        )
        self._negative_number_matcher = re.compile(r"-[\d.]")  # also -1,1 is a value, no option
        # No default: a command's default would overwrite `scratchvae --json COMMAND`.
        switch: Any = {"action": "store_true", "default": argparse.SUPPRESS}
        self.add_argument("--debug", help="show the traceback of an error", **switch)
        self.add_argument("--json", help="print the result as JSON", **switch)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """Exit with one line; a long usage text would hide it."""
        message = " ".join(message.split())
        error = paint("error:", "red", sys.stderr)
        self.exit(2, f"{self.prog}: {error} {message} (see {self.prog} --help)\n")


def add_command(
    commands: Any, name: str, run: Callable[..., int], what: str, more: str, *examples: str
) -> Any:
    """Declare a command and return its parser; `run` runs it and returns the exit status.

    The list of commands shows `what`; the help of the command adds `more`, options and examples.
    """
    parser = commands.add_parser(
        name,
        help=what,
        description=what[0].upper() + what[1:] + more,
        epilog="\n  ".join(["examples:", *examples]),
    )
    parser.set_defaults(run=run)
    return parser


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a finite number above zero."""
    return _number(kind, lambda value: value > 0, "above 0")


def at_least(limit: int, kind: type[int] | type[float] = int) -> Callable[[str], float]:
    """An argparse type: a finite number not below the limit."""
    return _number(kind, lambda value: value >= limit, f"{limit} or more")


def numbers(text: str) -> list[int]:
    """An argparse type: 3,14,15."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected numbers such as 3,14,15, got {text}") from None


def _number(
    kind: type[int] | type[float], fits: Callable[[float], bool], what: str
) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not (fits(value := kind(text)) and value < math.inf):
            raise argparse.ArgumentTypeError(f"must be {what}, got {text}")
        return value

    parse.__name__ = kind.__name__  # for argparse: "invalid int value"
    return parse


ARGUMENTS: dict[Any, dict[str, Any]] = {  # for `add_argument`, by the kind of an option
    int: {"type": int, "metavar": "N"},
    float: {"type": float, "metavar": "X"},
    str: {"type": str, "metavar": "TEXT"},
    tuple: {"type": numbers, "metavar": "N,N,..."},
    bool: {"action": argparse.BooleanOptionalAction},  # --no-... overrides the file of --config
}


def flag(name: str) -> str:
    """The option of a run on the command line: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


def add_option(group: Any, spec: Any, help: str) -> None:
    """Add the option of a run, a field of `Config`."""
    settings = ARGUMENTS[spec.metadata["kind"]]
    if choices := spec.metadata["limits"].get("choices"):
        settings = {"choices": choices, "metavar": "|".join(choices)}
    group.add_argument(flag(spec.name), help=help, **settings)


def run_options(parser: argparse.ArgumentParser) -> None:
    """Add RUN, the location of its data, and the engine, for `open_for`."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of the run")
    for spec in fields(Config):
        if spec.name in ("data", "data_dir", *IMAGE_OPTIONS):
            add_option(parser, spec, f"{spec.metadata['help']} (default: the run's)")
    add("--engine", choices=("auto", *ENGINES), default="auto", help="engine (default: auto)")
    add("--tf32", action="store_true", help=TF32_HELP)


def open_for(args: argparse.Namespace, *outputs: Path | None) -> Run:
    """Open the run that the options of `run_options` name, with their data set and folder.

    With another data set, its images are made to fit the model, unless options say otherwise.

    First check, before anything is computed, that the outputs may be written: OSError if a path is
    a folder, a pipe or a device, or its folder does not exist; ValueError if a file belongs to the
    run or is named twice.
    """
    files = RunFolder(args.folder)
    own = (files.config, files.history, files.metrics, files.weights, files.lock, files.checkpoints)
    taken = {path.resolve() for path in own}
    named: set[Path] = set()
    for path in filter(None, outputs):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}: create it first")
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder: give the name of a file")
        check_regular(path)
        if not taken.isdisjoint([path.resolve(), *path.resolve().parents]):
            raise ValueError(f"{path} is a file of the run itself: choose another name")
        if path.resolve() in named:
            raise ValueError(f"{path} is named for two results: choose another name for one")
        named.add(path.resolve())
    run = open_run(args.folder, args.engine, args.tf32)
    names = ("data", "data_dir", *IMAGE_OPTIONS)
    moved = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.data is not None:
        C, H, W = run.model.image_shape
        fitted = {"data_dir": None, "image_size": f"{W}x{H}", "grey": C == 1}
        if args.data.partition(":")[0] != run.config.data.partition(":")[0]:
            fitted |= {"background": None, "value_range": None}  # they belong to the run's files
        moved = fitted | moved
    if moved.keys() - {"data_dir"}:  # the images may differ from those of the training
        run = replace(run, trained_on={})
    return replace(run, config=replace(run.config, **moved))


def show(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print a result on standard output: as JSON with --json, otherwise as this text.

    A command that has written its result to a file sets `args.saved`; then the output may fail.
    """
    output = to_json(result) if args.json else text
    if args.saved:
        tell(output)
    else:
        print(output)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    say(f"{paint('warning:', 'yellow', sys.stderr)} {text}")


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in one of COLOURS on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
