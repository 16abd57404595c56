"""Sends inputs to a worker, starts another where one dies, keeps the tally and the surprises."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from inputs import make_input

WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Tally:
    """What became of the inputs of one parser."""

    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0  # milliseconds of CPU
    largest: float = 0.0  # megabytes, above what the process had before
    surprises: dict[int, str] = field(default_factory=dict)  # number of the input: what happened

    @property
    def inputs(self):
        return self.accepted + self.refused + len(self.surprises)


def fuzz(name, seed=0, count=0, files=()):
    """The Tally of inputs 0 to count - 1, or of these files."""
    tally, count = Tally(), len(files) or count
    while tally.inputs < count:
        arguments = [name, seed, tally.inputs, count, *files]
        with subprocess.Popen(
            [sys.executable, str(WORKER), *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        ) as worker:
            for line in worker.stdout:
                _count(tally, *json.loads(line))
            complaint = worker.stderr.read()
        if worker.returncode > 0:  # not the parser's fault, but the worker's
            raise RuntimeError(f"worker {name} {tally.inputs}: {complaint}")
        if worker.returncode < 0:
            tally.surprises[tally.inputs] = signal.strsignal(-worker.returncode)
    return tally


def _count(tally, verdict, milliseconds, megabytes, reason):
    if verdict == "surprise":
        tally.surprises[tally.inputs] = reason
    else:
        setattr(tally, verdict, getattr(tally, verdict) + 1)
    tally.slowest = max(tally.slowest, milliseconds)
    tally.largest = max(tally.largest, megabytes)


def keep(tally, name, seed, folder):
    """Write the inputs that surprised to `folder`; returns a line for each."""
    lines = []
    for number, reason in tally.surprises.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{seed}-{number}"
        path.write_bytes(make_input(name, seed, number))
        lines.append(f"{path}: {reason}")
    return lines
