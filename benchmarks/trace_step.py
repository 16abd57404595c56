"""Trace one training step: the files it enters, its Python calls, its changes from file to file.

    python benchmarks/trace_step.py [MODEL] [--engine numpy|numba]

A step with few files and few jumps between them is easy to read. The table lists the files of this
repository in the order in which the step first enters them, with the number of calls of functions
in each, and how often the step enters the file from another. Calls on other threads, compiled loops
and libraries are not counted.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import numpy as np
from jobs import WARM_UP
from measure import parser

import scratchvae as sv

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (f"{ROOT}/scratchvae/", f"{ROOT}/kernels/")


class Trace(NamedTuple):
    """Counts per file of one step, in the order in which the files are first entered."""

    calls: Counter[str]
    entries: Counter[str]  # from another file, by a call or by a return

    @property
    def changes(self) -> int:
        return self.entries.total()


def trace(step: Callable[[], Any]) -> Trace:
    """Run `step` and count its calls."""
    calls, entries, last = Counter[str](), Counter[str](), ""

    def profile(frame: FrameType, event: str, _: Any) -> None:
        nonlocal last
        file = frame.f_code.co_filename
        if event not in ("call", "return") or not file.startswith(FOLDERS):
            return
        file = file.removeprefix(f"{ROOT}/")
        calls[file] += event == "call"
        entries[file] += file != last
        last = file

    sys.setprofile(profile)
    try:
        step()
    finally:
        sys.setprofile(None)
    return Trace(calls, entries)


def trace_step(name: str, engine: str) -> Trace:
    """Trace the model's training step with Adam, on eight images, after a few steps to warm up."""
    with sv.using(engine):
        model, rng = sv.models.build(name, seed=0), np.random.default_rng(0)
        optimizer = sv.optim.Adam(model, lr=1e-3)
        x = rng.uniform(*model.data_range, (8, *model.image_shape)).astype("float32")
        eps = model.noise(8, rng)
        for _ in range(WARM_UP):
            sv.train.train_step(model, optimizer, x, eps)
        return trace(lambda: sv.train.train_step(model, optimizer, x, eps))


def main() -> None:
    options = parser(__doc__)
    add = options.add_argument
    add("model", nargs="?", default="mlp", choices=sv.models.MODELS, metavar="MODEL")
    add("--engine", default="numpy", choices=("numpy", "numba"), help="default: numpy")
    given = options.parse_args()
    found = trace_step(given.model, given.engine)
    print(f"{given.model} on {given.engine}: {len(found.calls)} files, ", end="")
    print(f"{found.calls.total()} calls, {found.changes} changes of file\n")
    print(f"{'file':45} {'calls':>6} {'entries':>8}")
    for file, calls in found.calls.items():
        print(f"{file:45} {calls:6} {found.entries[file]:8}")


if __name__ == "__main__":
    main()
