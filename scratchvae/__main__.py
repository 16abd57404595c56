"""The command line: `scratchvae COMMAND`. The commands are in commands/, one file each."""

from __future__ import annotations

import argparse

from . import __version__
from .commands import COMMANDS


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the `scratchvae` command."""
    parser = argparse.ArgumentParser(
        prog="scratchvae", description="Variational autoencoders from scratch."
    )
    parser.add_argument("--version", action="version", version=f"scratchvae {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add(commands)
    args = parser.parse_args(arguments)
    return int(args.run(args))


if __name__ == "__main__":
    raise SystemExit(main())
