"""What the benchmarks share: worker processes, measuring in turns, medians, the command line.

scratchvae and PyTorch never share a process, because their thread pools would compete for the same
cores. Each has a `Worker`. The parent lets the workers run in turns, `TURN` steps at a time, so
that other programs on the machine slow both down equally. In every turn

    the first step is not counted,      nor any in the first `WAKE` seconds: the caches are full of
                                        the other process's data, and threads have to wake up;
    `REST` seconds pass before it       because threads of the other process keep spinning on the
                                        cores that this one needs, OpenBLAS's for 100 ms.

Between its turns a worker sleeps, waiting at its pipe. The workers measure the times themselves.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

TURN = 5
REST = 0.2
WAKE = 0.01

# The runs that a worker has prepared: name -> a function that does one step.
RUNS: dict[str, Callable[[], Any]] = {}


class Problem(Exception):
    """An error that the user can correct; `problems_in_one_line` prints its text and exits."""


# --- Workers -------------------------------------------------------------------------------------


class Worker:
    """A fresh process that runs functions of measure.py and of one other module of this folder."""

    def __init__(self, module: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.module = module
        self.connection, far_end = context.Pipe()
        self.process = context.Process(target=_serve, args=(far_end, module), daemon=True)
        self.process.start()
        far_end.close()

    def call(self, function: str, *arguments: Any) -> Any:
        """The function's result; Problem if it raises a ValueError or runs out of memory."""
        try:
            self.connection.send((function, arguments))
            result, problem = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            died = f"the process of {self.module}.py died (exit status {self.process.exitcode})"
            raise Problem(died) from None
        if problem:
            raise Problem(problem)
        return result

    def close(self) -> None:
        """End the process by closing its pipe."""
        self.connection.close()
        self.process.join()


def _serve(connection: Connection, module: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the parent, which ends its workers
    functions: dict[str, Any] = globals() | vars(importlib.import_module(module))
    answer: tuple[Any, str | None]
    while True:
        try:
            name, arguments = connection.recv()
        except (EOFError, OSError):
            return
        try:
            answer = functions[name](*arguments), None
        except (ValueError, MemoryError) as error:
            answer = None, str(error) or "not enough memory"
        except Exception:
            traceback.print_exc()
            return
        connection.send(answer)


# --- The machine ---------------------------------------------------------------------------------


def machine_line(facts: Mapping[str, Any]) -> str:
    """The facts on one line, with the load average."""
    load = {"load": f"{os.getloadavg()[0]:.1f}"} if hasattr(os, "getloadavg") else {}
    return ", ".join(f"{name} {fact}" for name, fact in {**facts, **load}.items() if fact)


def has_torch() -> bool:
    return find_spec("torch") is not None


# --- Times ---------------------------------------------------------------------------------------


def times(name: str, count: int) -> list[float]:
    """In a worker: milliseconds of `count` steps of RUNS[name], after some that are not counted."""
    run, milliseconds = RUNS[name], []
    awake = time.perf_counter() + WAKE
    run()
    while time.perf_counter() < awake:
        run()
    for _ in range(count):
        start = time.perf_counter()
        run()
        milliseconds.append(1e3 * (time.perf_counter() - start))
    return milliseconds


def queued(
    run: Callable[[], Any],
    count: int,
    start: Callable[[], Any],
    end: Callable[[], Any],
    wait: Callable[[], Any],
) -> None:
    """`count` runs between start() and end(), which record events on a GPU's stream. Runs that are
    not counted come first: for `WAKE` seconds one at a time, because an idle GPU lowers its clocks,
    and then `TURN` more, so that the GPU's queue is never empty."""
    awake = time.perf_counter() + WAKE
    while time.perf_counter() < awake:
        run()
        wait()
    for _ in range(TURN):
        run()
    start()
    for _ in range(count):
        run()
    end()
    wait()


def prepared() -> list[str]:
    """In a worker: the names of its runs."""
    return list(RUNS)


def is_finite(name: str) -> bool:
    """In a worker: whether the losses of one more step are finite. Times with NaN are worthless."""
    return all(math.isfinite(float(part)) for part in RUNS[name]())


def forget() -> None:
    """In a worker: free the prepared runs."""
    RUNS.clear()


def alternate(
    sides: Sequence[tuple[Worker, str]], steps: int, turn: int = TURN
) -> dict[str, list[float]]:
    """The milliseconds of `steps` steps of each (worker, name of its run), measured in turns."""
    found: dict[str, list[float]] = {name: [] for _, name in sides}
    for done in range(0, steps, turn):
        for worker, name in sides:
            time.sleep(REST)
            found[name] += worker.call("times", name, min(turn, steps - done))
    return found


class Spread(NamedTuple):
    """The quartiles of some times."""

    low: float
    median: float
    high: float

    def __str__(self) -> str:
        digits = 3 if self.median < 1 else 2
        return f"{self.median:.{digits}f} ({self.low:.{digits}f}-{self.high:.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    return Spread(*np.percentile(values, [25, 50, 75]).tolist())


def best(found: dict[str, list[float]], names: Sequence[str]) -> str:
    """The name with the smallest median."""
    return min(names, key=lambda name: spread(found[name]).median)


# --- The command line ----------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def parser(doc: str | None) -> Parser:
    """A parser whose description is the first paragraph of the program's docstring."""
    return Parser(description=(doc or "").partition("\n\n")[0])


def positive(text: str) -> int:
    """An argparse type: a whole number above zero."""
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")
    return int(text)


def write(path: Path, content: dict[str, object]) -> None:
    """Write the file of --json."""
    try:
        path.write_text(json.dumps(content, indent=1, default=str) + "\n")
    except OSError as error:
        raise Problem(f"--json: {error}") from None


@contextmanager
def problems_in_one_line() -> Iterator[None]:
    """Exit status 2 for a Problem, 130 for Ctrl-C."""
    try:
        yield
    except Problem as problem:
        print(f"{Path(sys.argv[0]).name}: error: {problem}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
