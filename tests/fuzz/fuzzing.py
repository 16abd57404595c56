"""Send inputs to a worker, restart it if it dies, and collect verdicts and surprises."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from inputs import make_input

WORKER = Path(__file__).with_name("worker.py")


@dataclass
class Tally:
    """The results for the inputs of one parser."""

    verdicts: list[str] = field(default_factory=list)  # one for each input, in order
    slowest: float = 0.0  # milliseconds of CPU
    largest: float = 0.0  # megabytes, above the memory of the process before
    surprises: dict[int, str] = field(default_factory=dict)  # number of the input: what happened

    def add(self, verdict, milliseconds, megabytes, reason):
        if verdict == "surprise":
            self.surprises[len(self.verdicts)] = reason
        self.verdicts.append(verdict)
        self.slowest = max(self.slowest, milliseconds)
        self.largest = max(self.largest, megabytes)


def fuzz(name, seed=0, count=0, files=()):
    """The Tally of inputs 0 to count - 1, or of these files."""
    tally, count = Tally(), len(files) or count
    while len(tally.verdicts) < count:
        arguments = [name, seed, len(tally.verdicts), count, *files]
        with (
            tempfile.TemporaryFile("w+") as errors,  # a pipe fills: libtiff has much to say
            subprocess.Popen(
                [sys.executable, str(WORKER), *map(str, arguments)],
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            ) as worker,
        ):
            for line in worker.stdout:
                tally.add(*json.loads(line))
            worker.wait()
            errors.seek(0)
            complaint = errors.read()
        if worker.returncode > 0:  # an error of the worker, not of the parser
            raise RuntimeError(f"worker {name} {len(tally.verdicts)}: {complaint}")
        if worker.returncode < 0:
            tally.add("surprise", 0.0, 0.0, signal.strsignal(-worker.returncode))
    return tally


def keep(tally, name, seed, folder):
    """Write the surprising inputs to `folder`; return a line for each."""
    lines = []
    for number, reason in tally.surprises.items():
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}-{seed}-{number}"
        path.write_bytes(make_input(name, seed, number))
        lines.append(f"{path}: {reason}")
    return lines
