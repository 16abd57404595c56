"""`python tests/mutations [NAME ...]`: plant each fault of the gallery, and see what finds it.

Prints a table: for each fault which judges find it (x), do not find it (-) or do not apply (blank;
see judges.py), and the test that kills it. Exit status 1 if a fault survives its test.
"""

import argparse
import json
import os
import sys
from difflib import get_close_matches
from pathlib import Path

HERE = Path(__file__).resolve().parent
# One core: what the judges see of a fault must not depend on how many cores share the work.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from examining import examine, markdown, table, without_faults  # noqa: E402
from planting import Refused  # noqa: E402

from scratchvae.exercises.gallery import GALLERY  # noqa: E402


def main(arguments=None):
    parser = argparse.ArgumentParser("python tests/mutations", description=__doc__.split("\n\n")[1])
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults; default: all")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--markdown", action="store_true", help="the table for the documentation")
    form.add_argument("--json", action="store_true", help="one record for each fault")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.names if name not in GALLERY]:
        near = get_close_matches(unknown[0], GALLERY, 3, 0)
        parser.error(f"no such fault: {', '.join(unknown)}; near to it are {', '.join(near)}")
    faults = [GALLERY[name] for name in asked.names or GALLERY]

    if trouble := without_faults(faults):
        print(trouble, file=sys.stderr)
        return 2
    try:
        results = {fault.name: examine(fault) for fault in faults}
    except Refused as reason:  # the code has changed since the fault was written
        print(reason, file=sys.stderr)
        return 2
    if asked.json:
        print(json.dumps(results))
    else:
        print("\n".join((markdown if asked.markdown else table)(results)))
    return 0 if all(result["killed"] for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
