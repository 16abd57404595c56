"""What the commands share: parsers, types of numbers, options, and how they speak.

Results go to standard output, and with `--json` they are one object of JSON. Remarks for people,
such as how far a run has got, go to standard error: see `say`.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import textwrap
from collections.abc import Callable
from typing import Any, NoReturn, TextIO

from ..backend import ENGINES
from ..output import to_json

COLOURS = {"red": 31, "green": 32, "yellow": 33}  # the terminal's numbers for them

# --- Parsers -------------------------------------------------------------------------------------


class HelpText(argparse.HelpFormatter):
    """Fills the paragraphs of a description; one with indented lines, as examples have, stays."""

    def add_argument(self, action: argparse.Action) -> None:
        """Commands are indented once more than argparse reckons when it places what they do."""
        super().add_argument(action)
        if isinstance(action, argparse._SubParsersAction):
            self._action_max_length += self._indent_increment

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        paragraphs = textwrap.dedent(text).strip().split("\n\n")
        return "\n\n".join(
            textwrap.indent(p, indent)
            if "\n " in p
            else super(HelpText, self)._fill_text(p, width, indent)
            for p in paragraphs
        )


class FrontParser(argparse.ArgumentParser):
    """A parser whose complaint is one line, whatever it complains of."""

    def error(self, message: str) -> NoReturn:
        super().error(" ".join(message.split()))


class CommandParser(FrontParser):
    """The parser of a command, or of a command's command: it knows --debug, and says in
    `args.parser` that it was the one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**({"formatter_class": HelpText} | options))
        what = "show a traceback where an error would be one line"
        # No default: a command's command would overwrite what its parent was told.
        self.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help=what)
        self.set_defaults(parser=self)

    def error(self, message: str) -> NoReturn:
        """One line: the usage of a command with many options would bury it."""
        message = " ".join(message.split())
        error = paint("error:", "red", sys.stderr)
        self.exit(2, f"{self.prog}: {error} {message} (see {self.prog} --help)\n")


# --- Types of numbers ----------------------------------------------------------------------------


def positive(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a number of this kind above zero."""
    return _number(kind, lambda value: 0 < value < math.inf, "above 0")


def at_least_zero(kind: type[int] | type[float]) -> Callable[[str], float]:
    """An argparse type: a number of this kind, zero or more."""
    return _number(kind, lambda value: 0 <= value < math.inf, "0 or more")


def share(text: str) -> float:
    """An argparse type: a part of a whole, above 0 and below 1."""
    return _number(float, lambda value: 0 < value < 1, "between 0 and 1")(text)


share.__name__ = "float"  # argparse says "invalid float value"


def numbers(text: str) -> list[int]:
    """An argparse type: 3,14,15."""
    return [int(part) for part in text.split(",")]


numbers.__name__ = "list of numbers"  # argparse says "invalid list of numbers value"


def _number(
    kind: type[int] | type[float], fits: Callable[[float], bool], what: str
) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not fits(value := kind(text)):
            raise argparse.ArgumentTypeError(f"must be {what}, got {text}")
        return value

    parse.__name__ = kind.__name__  # argparse says "invalid int value"
    return parse


# --- Options -------------------------------------------------------------------------------------


def engine_options(parser: argparse.ArgumentParser) -> None:
    """Add --engine and --tf32, for `use` or `using`."""
    add = parser.add_argument
    add("--engine", choices=("auto", *ENGINES), default="auto", help="compute engine")
    add("--tf32", action="store_true", help="cuda: faster, rougher products of linear layers")


def json_option(parser: argparse.ArgumentParser, default: bool | str = False) -> None:
    """Add --json, for `print_json`. A command's command, whose parent has the option too, takes
    argparse.SUPPRESS as default, lest it overwrite what the parent was told."""
    parser.add_argument(
        "--json", action="store_true", default=default, help="print the result as JSON"
    )


# --- Speaking ------------------------------------------------------------------------------------


def print_json(result: dict[str, Any]) -> None:
    """Print a result on standard output as JSON, see `to_json`."""
    print(to_json(result))


def say(text: str) -> None:
    """Print a remark for people on standard error, at once."""
    print(text, file=sys.stderr, flush=True)


def paint(text: str, colour: str, stream: TextIO) -> str:
    """The text in one of COLOURS if `stream` is a terminal that shows them.

    Nobody gets colours who has set NO_COLOR (https://no-color.org) or whose TERM is "dumb".
    """
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    if plain or not stream.isatty():
        return text
    return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m"
