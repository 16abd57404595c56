"""Start-up time and memory of a training run in a fresh process.

    python benchmarks/fresh_process.py [--models mlp conv ...] [--repeats 3] [--steps 50]

Each run is a fresh process, one at a time: imports, model, `--steps` training steps with batch size
128, 32 for `skip`. scratchvae runs on numba: "cold" with an empty folder as Numba's cache
(NUMBA_CACHE_DIR), "warm" with the cache of the cold run. PyTorch runs in both memory formats with
its default Adam. Medians of `--repeats` processes, but only one cold run. In milliseconds:

    since start     from the start of the process to the end of the first training step
    first step      the first training step, in which kernels are compiled or loaded
    second step     the second training step, for comparison

Resident memory in MB of 1024^2 bytes:

    imports         the peak after all imports, before the model is built
    peak            the peak after the last step (getrusage, ru_maxrss)
    run             peak - imports
    after del       memory in use after model, optimizer and batch are deleted (Linux)
"""

from __future__ import annotations

import gc
import os
import resource
import sys
import tempfile
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from jobs import BATCH, MODELS, Job, Subject
from measure import (
    RUNS,
    Worker,
    forget,
    has_torch,
    machine_line,
    parser,
    positive,
    problems_in_one_line,
)

COLUMNS = ("since start", "first step", "second step", "imports", "peak", "run", "after del")


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    add("--models", nargs="+", choices=MODELS, metavar="MODEL", help="default: all six")
    add("--repeats", type=positive, metavar="N", default=3, help="processes each (default: 3)")
    add("--steps", type=positive, metavar="N", default=50, help="of training (default: 50)")
    given = options.parse_args()
    print(machine_line(import_module("scratchvae.runs.environment").machine_facts()))
    print(f"\n{'model':6} {'run':22}" + "".join(f"{name:>12}" for name in COLUMNS), flush=True)
    formats = ["PyTorch NCHW", "PyTorch channels_last"] if has_torch() else []
    for model in given.models or MODELS:
        with tempfile.TemporaryDirectory() as cache:
            os.environ["NUMBA_CACHE_DIR"] = cache
            for name in (
                "ours, cold",
                "ours, warm",
                *formats[: 1 if model in ("mlp", "ae") else 2],
            ):
                repeats = 1 if name == "ours, cold" else given.repeats
                rows = [fresh(name, model, given.steps) for _ in range(repeats)]
                cells = [f"{median:12.0f}" for median in np.median(rows, axis=0)]
                print(f"{model:6} {name:22}{''.join(cells)}", flush=True)


def fresh(name: str, model: str, steps: int) -> list[float]:
    """The columns, measured in a new process."""
    start = time.time()
    with closing(Worker("fresh_process")) as worker:
        return worker.call("child", name, model, steps, start)


# --- In the fresh process ------------------------------------------------------------------------


def child(name: str, model: str, steps: int, start: float) -> list[float]:
    """Train, and return the columns."""
    job = Job(model, BATCH.get(model, 128))
    make = our_step if name.startswith("ours") else their_step
    step, imports = make(job, f"eager {name.split()[1]}")
    moments = []
    for _ in range(max(steps, 2)):
        moments.append(time.time())
        step()
    moments.append(time.time())
    times = [moments[1] - start, *np.diff(moments)[:2]]
    highest = peak()
    del step
    forget()
    gc.collect()
    return [*(1e3 * seconds for seconds in times), imports, highest, highest - imports, now()]


def our_step(job: Job, _: str) -> tuple[Any, float]:
    """A training step, and the memory after the imports."""
    sv: Any = import_module("scratchvae")
    import_module("numba")  # otherwise imported by the first kernel
    imports = peak()
    sv.use("numba")
    model, rng = sv.models.build(job.model), np.random.default_rng(0)
    kind, options = job.optimizer
    optimizer = getattr(sv.optim, kind)(model, **options)
    low, high = model.data_range
    x = rng.uniform(low, high, (job.batch_size, *model.image_shape)).astype("float32")
    eps = model.noise(job.batch_size, rng)
    return lambda: sv.train.train_step(model, optimizer, x, eps), imports


def their_step(job: Job, run: str) -> tuple[Any, float]:
    """The same in PyTorch, with its own initial weights, after three steps of warming up."""
    theirs: Any = import_module("theirs")
    imports, rng = peak(), np.random.default_rng(0)
    large = {"celeba": (128,), "skip": (256, 1, 1)}
    x = rng.random((job.batch_size, *((3, 64, 64) if job.model in large else (1, 28, 28))), "f4")
    eps = rng.standard_normal((job.batch_size, *large.get(job.model, (20,))), "f4")
    state = theirs.build(job.model, None).state_dict()
    weights = {name: tensor.numpy() for name, tensor in state.items()}
    theirs.prepare(run, job, Subject(weights, x, eps, np.zeros(3), {}))
    return RUNS[run], imports


def peak() -> float:
    """MB. A child's count starts at its parent's memory, here no more than the child's imports."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1024**2


def now() -> float:
    """MB in use now; 0 if the system does not say."""
    statm = Path("/proc/self/statm")
    if not statm.exists():
        return 0
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 1024**2


if __name__ == "__main__":
    with problems_in_one_line():
        main()
