"""`python tests/mutations/solving.py NAME < FILE`: is this fault gone from the file?

The text on standard input stands for the module of the fault while the tests run that find the
faults of this module. Prints what fails, as JSON; nothing if all pass.
"""

import json
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from planting import Refused, planted, right_text  # noqa: E402
from running import run_tests  # noqa: E402

from scratchvae.exercises.gallery import GALLERY  # noqa: E402


def why(fault, text):
    """What is wrong with the module in this form, or ""."""
    attempt = fault._replace(changes=[(right_text(fault), text)])
    tests = dict.fromkeys(f.killed_by for f in GALLERY.values() if f.module == fault.module)
    try:
        with planted(attempt):
            run = run_tests(fault.killed_by, *(test for test in tests if test != fault.killed_by))
    except Refused as refused:
        return str(refused).removeprefix(f"{fault.name}: ")
    if run.failed:
        return f"{run.failed[0]} fails: {run.messages[0]}"
    return run.trouble.splitlines()[0] if run.trouble else ""


if __name__ == "__main__":
    print(json.dumps({"why": why(GALLERY[sys.argv[1]], sys.stdin.read())}))
