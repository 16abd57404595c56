"""`python tests/faults [GROUP ...]`: disturb training runs as real machines do, and check them.

Prints a table: the fault, what happened, what survived, and a verdict. In every case only the work
since the last checkpoint may be lost, and a resumed run must end with the same files, bit by bit,
as an undisturbed one. Exit status 1 if that fails anywhere.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

# A fork does not have its parent's threads, so the parent must not have any.
os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS"), "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from examination import ENGINES, GROUPS, examine_all, table  # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser("python tests/faults", description=__doc__.split("\n\n")[1])
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)}; default all"
    )
    parser.add_argument("--kills", type=int, default=50, metavar="N", help="how many (50)")
    parser.add_argument("--seed", type=int, default=0, help="for where and when (0)")
    parser.add_argument("--numpy", action="store_true", help="leave the engine numba out")
    parser.add_argument("--json", action="store_true", help="one record for each fault")
    asked = parser.parse_args(arguments)
    if unknown := set(asked.groups) - GROUPS.keys():
        parser.error(f"no such group: {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    with tempfile.TemporaryDirectory(prefix="faults-") as folder:
        rows = []
        engines = ENGINES[:1] if asked.numpy else ENGINES
        groups = asked.groups or GROUPS
        for row in examine_all(Path(folder), engines, groups, asked.kills, asked.seed):
            rows.append(row)
            if not asked.json and sys.stderr.isatty():
                print(
                    f"\r{len(rows)} done, now after: {row.fault[:60]:60}", end="", file=sys.stderr
                )
    print(json.dumps([row._asdict() for row in rows]) if asked.json else "\n".join(table(rows)))
    return 1 if any(row.verdict == "FAILED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
