"""What the commands share: parser, number types, options and output.

Results go to standard output (with `--json`, one JSON object), other messages to standard error.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn, TextIO

from ..backend import ENGINES
from ..output import to_json
from ..runs import Run, RunFolder, open_run

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


def run_options(parser: argparse.ArgumentParser) -> None:
    """Add RUN, the location of its data, and the engine, for `open_for`."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder of the run")
    add("--data", metavar="NAME", help="data set (default: the run's)")
    add("--data-dir", metavar="DIR", help="look for its files in this folder (default: the run's)")
    add("--engine", choices=("auto", *ENGINES), default="auto", help="engine (default: auto)")
    add("--tf32", action="store_true", help=TF32_HELP)


def open_for(args: argparse.Namespace, *outputs: Path | None) -> Run:
    """Open the run that the options of `run_options` name, with their data set and folder.

    First check, before anything is computed, that the outputs may be written: FileNotFoundError if
    a folder does not exist; ValueError if a file belongs to the run.
    """
    files = RunFolder(args.folder)
    own = (files.config, files.history, files.metrics, files.weights, files.lock, files.checkpoints)
    taken = {path.resolve() for path in own}
    for path in filter(None, outputs):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}: create it first")
        if not taken.isdisjoint([path.resolve(), *path.resolve().parents]):
            raise ValueError(f"{path} is a file of the run itself: choose another name")
    run, moved = open_run(args.folder, args.engine, args.tf32), {}
    if args.data is not None:  # the run's data_dir belongs to the run's data set
        moved = {"data": args.data, "data_dir": None}
    if args.data_dir is not None:
        moved["data_dir"] = args.data_dir
    return replace(run, config=replace(run.config, **moved))


def show(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print a result on standard output: as JSON with --json, otherwise as this text."""
    print(to_json(result) if args.json else text)


def say(text: str) -> None:
    """Print a message on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    say(f"{paint('warning:', 'yellow', sys.stderr)} {text}")


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in one of COLOURS on a terminal, unless NO_COLOR (no-color.org) or TERM=dumb."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
