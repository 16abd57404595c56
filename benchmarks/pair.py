"""Ours and PyTorch, a process each, on the same job: prepare both, compare, measure in turns."""

from __future__ import annotations

from typing import NamedTuple

from jobs import Job, Subject
from measure import TURN, Problem, Spread, Worker, alternate, best, has_torch, spread

# The limits on the differences of first losses and of gradients, relative to the largest number.
# A ReLU at its kink moves a gradient by 1e-4; a wrong gradient is far beyond 1e-2.
SAME = {"losses": 1e-3, "gradients": 1e-2}


class NotTheSame(Problem):
    """The two sides differ: their times cannot be compared."""


class Result(NamedTuple):
    """The times of one job in milliseconds by run. Our runs are "ours", on a GPU "ours eager" and
    "ours graph"; PyTorch's begin with their kind: "eager channels_last fused"."""

    job: Job
    gflop: float  # of a step
    gbytes: float  # that a training step must move at least
    milliseconds: dict[str, list[float]]
    errors: dict[str, list[float]]  # of PyTorch's first losses and gradients, against ours
    failed: dict[str, str]  # PyTorch's runs that did not work, and why

    def spread(self, run: str) -> Spread:
        return spread(self.milliseconds[run])

    @property
    def ours(self) -> Spread:
        """Of our run, on a GPU of the graph."""
        return self.spread("ours graph" if self.job.gpu else "ours")

    def best(self, kind: str, fused: bool | None = None) -> str | None:
        """PyTorch's best run of this kind, with the default update or the fused one; None: with
        either. None if there is no such run."""
        names = [
            name
            for name in self.errors
            if name.startswith(kind) and fused in (None, name.endswith("fused"))
        ]
        return best(self.milliseconds, names) if names else None


class Pair:
    """The two processes. Ours alone where PyTorch is not asked for, or sees no GPU."""

    def __init__(self, with_torch: bool, gpu: bool = False) -> None:
        if with_torch and not has_torch():
            raise Problem('PyTorch is not installed: pip install -e ".[parity]"')
        self.side, self.failures = "gpu_ours" if gpu else "ours", 0
        self.ours = Worker(self.side)
        self.theirs = Worker("theirs") if with_torch else None
        # The peaks are measured when the other process has started and sleeps.
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
        """Two fresh processes: after an error on a GPU all that follows fails as well."""
        self.failures += 1
        self.close()
        self.ours = Worker(self.side)
        self.theirs = Worker("theirs") if self.theirs else None

    def measure(self, job: Job, steps: int, turn: int = TURN, compiled: bool = False) -> Result:
        """NotTheSame if the two do not compute the same."""
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
