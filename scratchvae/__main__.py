"""The command line, `scratchvae COMMAND`; shtab uses `make_parser` (see EPILOG)."""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
from typing import NoReturn

from . import __version__
from .backend import choose_quietly
from .commands import COMMANDS
from .commands.options import CommandParser, paint
from .data import DataNotFound
from .output import did_you_mean, note

# Errors that are not bugs: bad input, a missing file, no GPU, a loss of NaN.
EXPECTED = (
    ValueError, OSError, RuntimeError, MemoryError, FloatingPointError, ModuleNotFoundError,
)  # fmt: skip
FAILED, INTERRUPTED, PIPE_CLOSED = 2, 130, 141  # exit statuses, as in a shell

EPILOG = """\
`scratchvae COMMAND --help` shows a command's options.

examples:
  scratchvae train mlp --out runs/digits
  scratchvae evaluate runs/digits
  scratchvae sample runs/digits
  scratchvae encode runs/digits --out codes.npz
  scratchvae kernels
  scratchvae summary celeba --latent-dim 64
  scratchvae check conv2d
  scratchvae bench mlp conv
  scratchvae data verify mnist

To complete commands and options in the shell, run `pip install shtab`, and then
  eval "$(shtab --shell=bash scratchvae.__main__.make_parser)"
"""


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = CommandParser(
        prog="scratchvae", description="Variational autoencoders from scratch.", epilog=EPILOG
    )
    parser.add_argument("-V", "--version", action="version", version=f"scratchvae {__version__}")
    parser.set_defaults(debug=False, json=False, saved=False)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, or 1 if the command found something wrong.

    Raises SystemExit after one line on standard error: 2 for wrong arguments or a failure, 130 if
    interrupted, 141 if the output pipe was closed. With --debug, exceptions propagate.
    """
    streams_that_take_any_text()
    args, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options = re.findall(r"--[\w-]+", args.parser.format_usage())
        meant = did_you_mean(unknown[0], options)
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    if not sys.stderr.isatty():  # in a log file or a script
        choose_quietly()
    if args.debug:
        return int(args.run(args))
    try:
        status = int(args.run(args))
        flush(args.saved)
    except KeyboardInterrupt:
        leave(INTERRUPTED, f"{args.parser.prog}: interrupted")
    except BrokenPipeError:
        leave(PIPE_CLOSED)
    except Exception as problem:
        error = paint("error:", "red", sys.stderr)
        leave(FAILED, f"{args.parser.prog}: {error} {in_words(problem)}")
    return status


def streams_that_take_any_text() -> None:
    """Let both streams write with escapes what their encoding lacks, and replace closed ones."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def in_words(problem: Exception) -> str:
    """The message of an exception on one line; that of DataNotFound keeps its lines."""
    if isinstance(problem, DataNotFound):
        return str(problem)
    text = str(problem)
    if isinstance(problem, OSError) and problem.strerror:
        files = [str(f) for f in (problem.filename, problem.filename2) if f is not None]
        text = ": ".join([*([" -> ".join(files)] if files else []), problem.strerror])
    text = " ".join(text.split())
    kind = type(problem).__name__
    if isinstance(problem, EXPECTED):
        return text or kind
    return f"internal error: {kind}: {text} (please report it; --debug shows the traceback)"


def flush(saved: bool) -> None:
    """Write what is left in the buffers; raise OSError for standard output, unless `saved`."""
    for stream, may_fail in ((sys.stderr, True), (sys.stdout, saved)):
        try:
            stream.flush()
        except OSError:  # Python would try again at exit, and change the exit status
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if not may_fail:
                raise


def leave(status: int, line: str = "") -> NoReturn:
    """End the program with this line on standard error."""
    flush(saved=True)
    if line:
        note(line)
        flush(saved=True)
    raise SystemExit(status) from None


if __name__ == "__main__":
    raise SystemExit(main())
