"""What the commands share: parser, options and their types, the run they use, and output.

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
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn

from ..output import check_regular, did_you_mean, paint, tell, to_json
from ..runs import Config, Run, RunFolder, open_run
from ..runs.config import IMAGE_OPTIONS

SPECS = {spec.name: spec for spec in fields(Config)}
DATA_OPTIONS = ("data", "data_dir", *IMAGE_OPTIONS)


# ------------------------------------------------------------------------ parsers and options


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
        pattern = r"^argument ([A-Z|]*)(.*): invalid choice: '([^'\\]*)' \(choose from (.*)\)$"
        if found := re.search(pattern, message):
            what = found[1].lower().replace("|", " or ") or "choice"
            known = unknown(what, found[3], re.findall(r"[\w-]+", found[4]))
            message = f"argument {found[1]}{found[2]}: {known}"
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


def option(
    group: Any,
    words: str,
    kind: Any,
    help: str,
    default: Any = None,
    shown: Any = None,
    **more: Any,
) -> None:
    """Add an option such as "--seed N", or an argument such as "folder RUN", to a parser or group.

    `kind` is bool for a switch, a tuple of choices, or an argparse type. The help ends with the
    default, or with what is `shown` instead.
    """
    name, _, metavar = words.partition(" ")
    if kind is bool:
        more = {"action": "store_true"} | more
    elif isinstance(kind, tuple):
        more = {"choices": kind, "metavar": metavar or "|".join(kind), "default": default} | more
    else:
        more = {"type": kind, "metavar": metavar, "default": default} | more
    shown = default if shown is None else shown
    if shown is not None:
        help += f" (default: {shown})"
    group.add_argument(name, help=help, **more)


def config_option(group: Any, name: str, default: Any = None, shown: Any = None) -> None:
    """Add an option of a run, a field of `Config`."""
    about = SPECS[name].metadata
    kind, metavar = KINDS[about["kind"]]
    if choices := about["limits"].get("choices"):
        kind, metavar = choices, ""
    # --no-... overrides the file of --config
    more = {"action": argparse.BooleanOptionalAction} if kind is bool else {}
    option(group, f"{flag(name)} {metavar}", kind, about["help"], default, shown, **more)


def run_options(parser: argparse.ArgumentParser) -> None:
    """Add RUN, the location of its data, and the engine, for `open_for`."""
    option(parser, "folder RUN", path, "folder of the run")
    for name in DATA_OPTIONS:
        config_option(parser, name, shown="the run's")
    config_option(parser, "engine", "auto")
    option(parser, "--tf32", bool, SPECS["tf32"].metadata["help"])
    option(parser, "--anyway", bool, "use the data set even if it has changed since the training")


def flag(name: str) -> str:
    """The option of a run on the command line: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")


# ------------------------------------------------------------------------------ types of values


def text(given: str) -> str:
    """An argparse type: any text but the empty one."""
    if not given:
        raise argparse.ArgumentTypeError("must not be empty")
    return given


def path(given: str, suffix: str = "") -> Path:
    """An argparse type. An empty path, as of `--out "$UNSET"`, would be the current folder."""
    found = Path(text(given))
    if suffix and found.suffix.lower() != suffix:
        message = f"expected a file name that ends in {suffix}, got {given}"
        raise argparse.ArgumentTypeError(message)
    return found


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a finite number above zero."""
    return at_least(math.nextafter(0, 1), kind, "above 0")  # the smallest of these floats


def at_least(
    limit: float, kind: type[int] | type[float] = int, what: str = ""
) -> Callable[[str], float]:
    """An argparse type: a finite number not below the limit."""

    def parse(given: str) -> float:
        if not limit <= (value := kind(given)) < math.inf:
            raise argparse.ArgumentTypeError(f"must be {what or f'{limit} or more'}, got {given}")
        return value

    parse.__name__ = kind.__name__  # for argparse: "invalid int value"
    return parse


def numbers(given: str) -> list[int]:
    """An argparse type: 3,14,15."""
    try:
        return [int(part) for part in given.split(",")]
    except ValueError:
        message = f"expected numbers such as 3,14,15, got {given}"
        raise argparse.ArgumentTypeError(message) from None


def unknown(what: str, given: str, known: Iterable[str]) -> str:
    """An error message for a name that is not known."""
    return f"unknown {what} {given!r}{did_you_mean(given, known)}; choose from {', '.join(known)}"


KINDS: dict[Any, tuple[Any, str]] = {  # of a run's option -> argparse type, metavar
    int: (int, "N"),
    float: (float, "X"),
    str: (text, "TEXT"),
    tuple: (numbers, "N,N,..."),
    bool: (bool, ""),
}


# ----------------------------------------------------------------------------------- the run


def open_for(args: argparse.Namespace, *outputs: Path | None) -> Run:
    """Open the run that the options of `run_options` name, with their data set and folder.

    With another data set, its images are made to fit the model, unless options say otherwise.
    Before anything is computed, `check_outputs` checks that the outputs may be written.
    """
    check_outputs(RunFolder(args.folder), [output for output in outputs if output is not None])
    run = open_run(args.folder, args.engine, args.tf32, args.anyway)
    moved = {name: value for name in DATA_OPTIONS if (value := getattr(args, name)) is not None}
    if args.data is not None:
        C, H, W = run.model.image_shape
        fitted = {"data_dir": None, "image_size": f"{W}x{H}", "grey": C == 1}
        if args.data.partition(":")[0] != run.config.data.partition(":")[0]:
            fitted |= {"background": None, "value_range": None}  # they belong to the run's files
        moved = fitted | moved
    if moved.keys() - {"data_dir"}:  # the images may differ from those of the training
        run = replace(run, trained_on={})
    return replace(run, config=replace(run.config, **moved))


def check_outputs(run: RunFolder, outputs: list[Path]) -> None:
    """OSError if an output is a folder, a pipe or a device, or if its folder is missing or
    read-only; ValueError if it belongs to the run or is named twice."""
    own = (run.config, run.history, run.metrics, run.weights, run.lock, run.checkpoints)
    taken, named = {file.resolve() for file in own}, set()
    for output in outputs:
        target, folder = output.resolve(), output.parent
        new = folder == run.pictures and not folder.exists()  # it is made when it is needed
        if not (new or folder.is_dir()):
            raise FileNotFoundError(f"{output}: there is no folder {folder}: create it first")
        if output.is_dir():
            raise IsADirectoryError(f"{output} is a folder: give the name of a file")
        check_regular(output)
        if not taken.isdisjoint([target, *target.parents]):
            raise ValueError(f"{output} is a file of the run itself: choose another name")
        if target in named:
            raise ValueError(f"{output} is named for two results: choose another name for one")
        if run.path.exists() and not os.access(run.path if new else target.parent, os.W_OK):
            raise PermissionError(f"{output}: nothing can be written in its folder: choose another")
        named.add(target)


# -------------------------------------------------------------------------------------- output


def show(args: argparse.Namespace, result: dict[str, Any], text: str) -> None:
    """Print a result on standard output: as JSON with --json, otherwise as this text.

    A command that has written its result to a file sets `args.saved`; then the output may fail.
    """
    output = to_json(result) if args.json else text
    if args.saved:
        tell(output)
    else:
        print(output)
