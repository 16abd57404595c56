"""Time how long it takes to begin: the import, and the first training step of every model.

    python benchmarks/cold_start.py [--models mlp conv ...] [--repeats 7]

Every number comes from fresh processes, one at a time. Imports: the wall time of `python -c
"import ..."` from start to exit, beside a `python` that does nothing; the three in turns, medians
(quartiles). First step: a process (first_step.py) imports scratchvae, builds the model, and makes
two training steps on numba, batch 128, 32 for `skip`:

    since start     from the start of the process to the end of the first step
    first step      from the call of `train_step` to its end: kernels are compiled, or loaded
    second step     the same once more, for comparison

cold: Numba's cache (NUMBA_CACHE_DIR) is a fresh empty folder; one process. warm: it is what the
cold one left there; medians of `--repeats` processes.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from jobs import MODELS
from machine import machine_facts, machine_lines
from measure import (
    parser,
    positive,
    problems_in_one_line,
    run_python,
    spread,
)

CHILD = str(Path(__file__).with_name("first_step.py"))
IMPORTS = {
    "python alone": "pass",
    "import numpy": "import numpy",
    "import scratchvae": "import scratchvae",
}


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    add("--repeats", type=positive, metavar="N", default=7, help="processes each (default: 7)")
    given = options.parse_args()
    print(machine_lines(machine_facts()), end="\n\n")
    imports(given.repeats)
    print(f"\n{'ms':10} {'since start':>21} {'first step':>21} {'second step':>21}")
    print("model     " + f" {'cold':>10} {'warm':>10}" * 3, flush=True)
    for model in given.models or MODELS:
        print(row(model, given.repeats), flush=True)


def imports(repeats: int) -> None:
    """A line each."""
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            start = time.perf_counter()
            run_python("-c", code)
            found[name].append(1e3 * (time.perf_counter() - start))
    for name, values in found.items():
        print(f"{name:17} {spread(values)!s:>24} ms")


def row(model: str, repeats: int) -> str:
    with tempfile.TemporaryDirectory() as cache:
        cold, *warm = [first_steps(model, cache) for _ in range(1 + repeats)]
    medians = [spread(column).median for column in zip(*warm, strict=True)]
    cells = [f" {a:10.1f} {b:10.1f}" for a, b in zip(cold, medians, strict=True)]
    return f"{model:10}" + "".join(cells)


def first_steps(model: str, cache: str) -> list[float]:
    """The milliseconds of a new process, in the order of the columns."""
    start = repr(time.time())
    found: list[float] = json.loads(run_python(CHILD, model, start, NUMBA_CACHE_DIR=cache))
    return found


if __name__ == "__main__":
    with problems_in_one_line():
        main()
