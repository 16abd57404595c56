"""scratchvae and PyTorch on the same job, in two processes: prepare, compare, measure in turns."""

from __future__ import annotations

from typing import NamedTuple

from jobs import Job, Subject
from measure import TURN, Problem, Spread, Worker, alternate, best, has_torch, spread

# Limits for the differences of the first losses and gradients, relative to the largest number. A
# ReLU at its kink changes a gradient by 1e-4; a wrong gradient differs by far more than 1e-2.
SAME = {"losses": 1e-3, "gradients": 1e-2}


class NotTheSame(Problem):
    """The two sides differ: their times cannot be compared."""


class Result(NamedTuple):
    """The times of one job in milliseconds by run. Our runs are "ours", on a GPU "ours eager" and
    "ours graph"; PyTorch's begin with their kind: "eager channels_last fused"."""

    job: Job
    gflop: float  # per step
    gbytes: float  # that a training step must move at least
    milliseconds: dict[str, list[float]]
    errors: dict[str, list[float]]  # differences of PyTorch's first losses and gradients from ours
    failed: dict[str, str]  # PyTorch's runs that failed, with the reason

    def spread(self, run: str) -> Spread:
        return spread(self.milliseconds[run])

    @property
    def ours(self) -> Spread:
        """The times of our run; on a GPU, of the run with a graph."""
        return self.spread("ours graph" if self.job.gpu else "ours")

    def best(self, kind: str, fused: bool | None = None) -> str | None:
        """PyTorch's best run of this kind, or None if there is none. fused: with the fused update
        or with the default one; None: with either."""
        names = [
            name
            for name in self.errors
            if name.startswith(kind) and fused in (None, name.endswith("fused"))
        ]
        return best(self.milliseconds, names) if names else None


class Pair:
    """The two processes; only ours if PyTorch is not requested or finds no GPU."""

    def __init__(self, with_torch: bool, gpu: bool = False) -> None:
        if with_torch and not has_torch():
            raise Problem('PyTorch is not installed: pip install -e ".[parity]"')
        self.side, self.failures = "gpu_ours" if gpu else "ours", 0
        self.ours = Worker(self.side)
        self.theirs = Worker("theirs") if with_torch else None
        # Measure the peaks after the other process has started, while it sleeps.
        torch: dict[str, str] = self.theirs.call("facts") if self.theirs else {}
        self.peaks: dict[str, float] = self.ours.call("peaks")
        self.facts: dict[str, str] = self.ours.call("facts") | torch
        if self.theirs and gpu and not torch["GPU of torch"]:
            self.theirs.close()
            self.theirs, self.facts["GPU of torch"] = None, "none: left out"

    def close(self) -> None:
        for worker in (self.ours, self.theirs):
            if worker:
                worker.close()

    def restart(self) -> None:
        """Two fresh processes: after an error on a GPU, everything that follows fails too."""
        self.failures += 1
        self.close()
        self.ours = Worker(self.side)
        self.theirs = Worker("theirs") if self.theirs else None

    def measure(self, job: Job, steps: int, turn: int = TURN, compiled: bool = False) -> Result:
        """Measure the job; NotTheSame if the two sides do not compute the same."""
        subject: Subject = self.ours.call("prepare", job)
        sides = [(self.ours, name) for name in self.ours.call("prepared")]
        errors: dict[str, list[float]] = {}
        failed: dict[str, str] = {}
        if self.theirs:
            self.theirs.call("start", job)
            for name in self.theirs.call("names", job, compiled):
                answer: list[float] | str = self.theirs.call("prepare", name, job, subject)
                if isinstance(answer, str):
                    failed[name] = answer
                    continue
                compare(job, name, answer)
                errors[name] = answer
                sides.append((self.theirs, name))
        found = alternate(sides, steps, turn)
        for worker, name in sides:
            if not worker.call("is_finite", name):
                raise Problem(f"{job.model}: the loss of {name} is no longer finite")
        for worker, _ in sides:
            worker.call("forget")
        return Result(job, subject.flop / 1e9, subject.moved / 1e9, found, errors, failed)


def compare(job: Job, name: str, errors: list[float]) -> None:
    """NotTheSame if PyTorch's run and ours do not compute the same."""
    for (what, limit), error in zip(SAME.items(), errors, strict=True):
        if not error <= limit:
            raise NotTheSame(
                f"{job.model}, batch {job.batch_size}: the {what} of PyTorch ({name}) and ours "
                f"differ by {error:.1e}, more than {limit:g}: they do not compute the same"
            )
