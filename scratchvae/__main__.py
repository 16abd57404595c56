"""The command line, `scratchvae COMMAND`; shtab uses `make_parser` (see EPILOG).

The imports that take a second are inside the functions, so that `program` can set the signals and
the streams before them.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from typing import NoReturn

from . import __version__

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
  scratchvae xray conv --open
  scratchvae check conv2d
  scratchvae exercise relu
  scratchvae bench mlp conv
  scratchvae data verify mnist

To complete commands and options in the shell, run `pip install shtab`, and then
  eval "$(shtab --shell=bash scratchvae.__main__.make_parser)"
"""


def program() -> NoReturn:
    """Be the program `scratchvae`: run `main` and end this process, by a signal if one came."""
    take_missing_descriptors()
    interrupt = signal.getsignal(signal.SIGINT)
    quiet = signal.SIG_IGN if interrupt is signal.SIG_IGN else signal.SIG_DFL
    signal.signal(signal.SIGINT, quiet)  # Ctrl-C during the imports prints no traceback
    from . import commands  # noqa: F401

    signal.signal(signal.SIGINT, interrupt)
    try:
        status = main()
    except SystemExit as end:
        status = end.code or 0  # type: ignore[assignment]
    signal.signal(signal.SIGINT, quiet)
    if status > 128 and os.name == "posix":  # a shell stops its loop only if it sees the signal
        signal.signal(status - 128, signal.SIG_DFL)
        os.kill(os.getpid(), status - 128)
    sys.exit(status)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    from .commands import COMMANDS, CommandParser, show

    def list_commands(args: argparse.Namespace) -> int:
        show(args, {"commands": [*commands.choices]}, parser.format_help().rstrip())
        return 0

    parser = CommandParser(
        prog="scratchvae", description="Variational autoencoders from scratch.", epilog=EPILOG
    )
    parser.add_argument("-V", "--version", action="version", version=f"scratchvae {__version__}")
    parser.set_defaults(debug=False, json=False, saved=False, run=list_commands)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command line; returns the exit status: 0, or 1 if the command found something wrong.

    Raises SystemExit after one line on standard error: 2 for wrong arguments or a failure, 130 if
    interrupted, 141 if the output pipe was closed. With --debug, exceptions propagate.
    """
    streams_that_take_any_text()
    args = argparse.Namespace(debug=False)
    try:
        try:
            args = parse(arguments)
            status = int(args.run(args))
        except SystemExit as end:  # also of argparse, after --help or for wrong arguments
            flush(saved=end.code != 0)
            raise
        flush(args.saved)
    except (Exception, KeyboardInterrupt) as problem:
        if args.debug:
            raise
        end_with(problem, args.parser.prog if "parser" in args else "scratchvae")
    return status


def parse(arguments: list[str] | None) -> argparse.Namespace:
    from .backend import choose_quietly
    from .output import did_you_mean

    args, unknown = make_parser().parse_known_args(arguments)
    if unknown:
        options = re.findall(r"--[\w-]+", args.parser.format_usage())
        meant = did_you_mean(unknown[0], options)
        args.parser.error(f"unrecognized arguments: {' '.join(unknown)}{meant}")
    if not sys.stderr.isatty():  # in a log file or a script
        choose_quietly()
    return args


def take_missing_descriptors() -> None:
    """Open the null device for each standard stream that is closed, as by `>&-`.

    Otherwise the next file that is opened would get its number, and the text printed to it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # `open` returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def streams_that_take_any_text() -> None:
    """Let both streams write with escapes what their encoding lacks, and replace missing ones."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def end_with(problem: BaseException, program: str) -> NoReturn:
    """Say in one line on standard error why the program ends, and raise SystemExit."""
    from .output import note, paint

    flush(saved=True)
    if isinstance(problem, BrokenPipeError):
        raise SystemExit(PIPE_CLOSED) from None
    if isinstance(problem, KeyboardInterrupt):
        status, line = INTERRUPTED, "interrupted"
    else:
        status, line = FAILED, f"{paint('error:', 'red', sys.stderr)} {in_words(problem)}"
    note(f"{program}: {line}")
    flush(saved=True)
    raise SystemExit(status) from None


def in_words(problem: BaseException) -> str:
    """The message of an exception on one line; that of DataNotFound keeps its lines."""
    from .data import DataNotFound

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


if __name__ == "__main__":
    program()
