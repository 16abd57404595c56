"""Time and memory of a training run in a fresh process: how long it takes to begin, and what it
holds.

    python benchmarks/fresh_process.py [--models mlp conv ...] [--repeats 7] [--memory conv]
        [--steps 50]

All numbers come from fresh processes, one at a time; batch 128, 32 for `skip`. Imports: the wall
time of `python -c "import ..."` from start to exit, beside a `python` that does nothing; the three
in turns, medians (quartiles). Then, for each model on numba:

    since start     from the start of the process to the end of the first training step, the
                    imports of this file included
    first step      from the call of `train_step` to its end: kernels are compiled, or loaded
    second step     the same once more, for comparison

cold: Numba's cache (NUMBA_CACHE_DIR) is a fresh empty folder; one process. warm: it is what the
cold one left there; medians of `--repeats` processes. Last, for the models of --memory, the
resident memory of `--steps` steps, ours (warm) and PyTorch's in both formats, MB of 1024^2 bytes:

    imports         the peak when everything is imported, before there is a model
    peak            the peak when the last step is done (getrusage, ru_maxrss)
    run             peak - imports
    after del       what the process holds when model, optimizer and batch are deleted (Linux)
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jobs import BATCH, MODELS, Job, Subject
from measure import (
    RUNS,
    forget,
    has_torch,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
    run_python,
    spread,
)

CODE = "import fresh_process; fresh_process.child"
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
    memory = "whose memory to measure (default: conv)"
    add("--memory", nargs="*", default=["conv"], choices=MODELS, metavar="MODEL", help=memory)
    add("--steps", type=positive, metavar="N", default=50, help="for --memory (default: 50)")
    given = options.parse_args()
    facts = import_module("scratchvae.commands.machine").machine_facts()
    print(machine_line(facts), "\n")
    for name, values in imports(given.repeats).items():
        print(f"{name:17} {values:>24} ms")
    print(f"\n{'ms':10} {'since start':>21} {'first step':>21} {'second step':>21}")
    print("model     " + f" {'cold':>10} {'warm':>10}" * 3, flush=True)
    with tempfile.TemporaryDirectory() as cache:
        for model in given.models or MODELS:
            print(times_row(model, given.repeats, f"{cache}/{model}"), flush=True)
        for model in given.memory:
            print(f"\n{model}, {given.steps} steps")
            print(f"{'MB':21} {'imports':>8} {'peak':>8} {'run':>8} {'after del':>10}", flush=True)
            formats = ["NCHW", "channels_last"][: 1 if model in ("mlp", "ae") else 2]
            for side in ("ours", *(formats if has_torch() else [])):
                print(memory_row(side, model, given.steps, cache), flush=True)


def imports(repeats: int) -> dict[str, str]:
    found: dict[str, list[float]] = {name: [] for name in IMPORTS}
    for _ in range(repeats):
        for name, code in IMPORTS.items():
            start = time.perf_counter()
            run_python("-c", code)
            found[name].append(1e3 * (time.perf_counter() - start))
    return {name: str(spread(values)) for name, values in found.items()}


def fresh(side: str, model: str, steps: int, cache: str) -> list[float]:
    """What `child` prints in a new process."""
    arguments = (side, model, steps, time.time())
    text = run_python("-c", f"{CODE}{arguments}", NUMBA_CACHE_DIR=cache)
    found: list[float] = json.loads(text)
    return found


def times_row(model: str, repeats: int, cache: str) -> str:
    cold, *warm = [fresh("ours", model, 2, cache)[:3] for _ in range(1 + repeats)]
    medians = np.median(warm, axis=0)
    cells = [f" {a:10.1f} {b:10.1f}" for a, b in zip(cold, medians, strict=True)]
    return f"{model:10}" + "".join(cells)


def memory_row(side: str, model: str, steps: int, cache: str) -> str:
    if side == "ours":
        fresh(side, model, 1, cache)  # compiling takes memory, too, but only once
    *_, imports, peak, after = fresh(side, model, steps, cache)
    rest = f"{after:10.0f}" if after else f"{'-':>10}"
    name = side if side == "ours" else f"PyTorch {side}"
    return f"{name:21} {imports:8.0f} {peak:8.0f} {peak - imports:8.0f} {rest}"


# --- In the fresh process ------------------------------------------------------------------------


def child(side: str, model: str, steps: int, start: float) -> None:
    """Train, and print since start, first step, second step; imports, peak, after del."""
    job = Job(model, BATCH.get(model, 128))
    make = our_step if side == "ours" else their_step
    step, imports = make(job, side)
    times = []
    for i in range(steps):
        before = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - before))
        if i == 0:
            times.insert(0, 1e3 * (time.time() - start))
    highest = peak()
    del step
    forget()
    gc.collect()
    print(json.dumps([*times[:3], imports, highest, now()]))


def our_step(job: Job, side: str) -> tuple[Any, float]:
    sv: Any = import_module("scratchvae")
    import_module("numba")  # otherwise imported by the first kernel
    imports = peak()
    sv.use("numba")
    model, rng = sv.models.build(job.model), np.random.default_rng(0)
    kind, options = job.optimizer
    optimizer = getattr(sv.optim, kind)(model, **options)
    x = rng.uniform(*model.data_range, (job.batch_size, *model.image_shape)).astype("float32")
    eps = model.noise(job.batch_size, rng)
    return lambda: sv.train.train_step(model, optimizer, x, eps), imports


def their_step(job: Job, side: str) -> tuple[Any, float]:
    """Weights as PyTorch draws them."""
    theirs: Any = import_module("theirs")
    imports, rng = peak(), np.random.default_rng(0)
    large = {"celeba": (128,), "skip": (256, 1, 1)}
    x = rng.random((job.batch_size, *((3, 64, 64) if job.model in large else (1, 28, 28))), "f4")
    eps = rng.standard_normal((job.batch_size, *large.get(job.model, (20,))), "f4")
    state = theirs.build(job.model, None).state_dict()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    theirs.prepare(f"eager {side}", job, Subject(weights, x, eps, np.zeros(3), {}))
    return RUNS[f"eager {side}"], imports


def peak() -> float:
    """MB. A child's count begins with what its parent held, here no more than its own imports."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def now() -> float:
    """MB held at this moment; 0 where the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 1024**2


if __name__ == "__main__":
    with problems_in_one_line():
        main()
