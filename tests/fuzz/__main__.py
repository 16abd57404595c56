"""`python tests/fuzz [PARSER ...] --count 100000 --seed 0`: give malformed input to the parsers.

Every input must be read, or rejected with the documented error, in bounded time and memory. Prints
a table; an input with another outcome is saved to a file, and the exit status is 1. `--files FILE
...` gives such files to the parser again.
"""

import argparse
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from fuzzing import fuzz, keep  # noqa: E402
from parsers import PARSERS  # noqa: E402

HEAD = ("parser", "inputs", "accepted", "refused", "surprises", "slowest, ms", "memory, MB")


def main(arguments=None):
    parser = argparse.ArgumentParser("python tests/fuzz", description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="PARSER", help=f"of {', '.join(PARSERS)}")
    parser.add_argument("--count", type=int, default=2000, help="inputs for each parser")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="+", default=(), help="these instead, for one PARSER")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "surprises")
    parser.add_argument("--markdown", action="store_true", help="the table for the documentation")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in PARSERS]:
        parser.error(f"no such parser: {', '.join(unknown)}; there are {', '.join(PARSERS)}")
    if asked.files and len(asked.names) != 1:
        parser.error("--files: expected the name of one parser")

    show(HEAD, asked.markdown)
    if asked.markdown:
        print("|---|" + "---:|" * (len(HEAD) - 1))
    complaints = []
    for name in asked.names or PARSERS:
        tally = fuzz(name, asked.seed, asked.count, asked.files)
        counts = [tally.verdicts.count(verdict) for verdict in ("accepted", "refused", "surprise")]
        numbers = [f"{number:,}" for number in (sum(counts), *counts)]
        show([name, *numbers, f"{tally.slowest:.0f}", f"{tally.largest:.0f}"], asked.markdown)
        if asked.files:
            complaints += [f"{asked.files[i]}: {why}" for i, why in tally.surprises.items()]
        else:
            complaints += keep(tally, name, asked.seed, asked.keep)
    print("".join(f"{line}\n" for line in complaints), end="", file=sys.stderr)
    return 1 if complaints else 0


def show(cells, markdown):
    line = " | ".join(cells) if markdown else "".join(f"{cell:>12}" for cell in cells)
    print(f"| {line} |" if markdown else line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
