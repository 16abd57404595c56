"""`python tests/mutations/solving.py NAME < FILE`: is this fault gone from the file?

The text on standard input stands for the module of the fault while the tests run that find the
faults of this module. Prints what fails, as JSON; nothing if all pass.
"""

import json
import os
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from planting import Refused, planted, right_text  # noqa: E402
from running import run_tests  # noqa: E402

from scratchvae.exercises.gallery import GALLERY  # noqa: E402

CUT = 200  # characters of a reason


def failure(fault, text):
    """The test that fails with the module in this form, why, and whether this fault is gone all the
    same; or nothing, if all tests pass."""
    attempt = fault._replace(changes=[(right_text(fault), text)])
    tests = dict.fromkeys(f.killed_by for f in GALLERY.values() if f.module == fault.module)
    # First without a fault: a kernel that is imported later would load the right machine code.
    run = run_tests(*tests)
    if run.failed or run.trouble:
        sys.exit(f"{[*run.failed, run.trouble][0][:CUT]}: it fails with the original, too")
    try:
        with planted(attempt):
            run = first = run_tests(fault.killed_by)
            if not (run.failed or run.trouble):
                run = run_tests(*tests)
    except Refused as refused:
        lines = str(refused).removeprefix(f"{fault.name}: ").splitlines()
        why = next((line for line in lines if "error:" in line), lines[0])
        if "the change reaches" in why:
            why = "the tests run with changed functions only: make no change outside of functions"
        sys.exit(why[:CUT])
    if run.failed:
        why = re.sub(r"^(AssertionError|GradientError)(: |$)", "", run.messages[0])
        return {"test": run.failed[0], "why": why[:CUT], "fixed": run is not first}
    if run.trouble:
        sys.exit(run.trouble.splitlines()[0][:CUT])
    return {}


if __name__ == "__main__":
    print(json.dumps(failure(GALLERY[sys.argv[1]], sys.stdin.read())))
