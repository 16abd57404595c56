"""Ours and PyTorch on the GPU, a process each: prepare both, compare, measure in turns."""

from __future__ import annotations

from typing import Any, NamedTuple

from jobs import Job
from measure import Problem, Spread, Worker, best, spread
from pair import SAME

SAME_GRADIENT = 1e-2  # a ReLU at its kink moves 1e-4; a wrong gradient is far beyond


class NotTheSame(Problem):
    """The two sides differ: no time of theirs means anything."""


class Result(NamedTuple):
    """The times of one job: milliseconds of a step, one of each turn, by run. PyTorch's runs begin
    with their kind: "eager channels_last fused"."""

    job: Job
    tf32: bool
    gflop: float  # of a step
    gbytes: float  # it must move at least
    milliseconds: dict[str, list[float]]
    errors: dict[str, tuple[float, float]]  # of first losses and gradient, against ours
    failed: dict[str, str]  # PyTorch's runs that did not work, and why

    def spread(self, run: str) -> Spread:
        return spread(self.milliseconds[run])

    def best(self, kind: str) -> str | None:
        """PyTorch's best run of this kind; None if there is none."""
        names = [name for name in self.milliseconds if name.split()[0] == kind]
        return best(self.milliseconds, names) if names else None

    def ratio(self, kind: str) -> float | None:
        """Our graph's median over that of PyTorch's best of this kind: below 1, ours is faster."""
        theirs = self.best(kind)
        return self.spread("ours graph").median / self.spread(theirs).median if theirs else None

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"job": self.job._asdict()}


class GpuPair:
    """The two processes; `with` ends them. Ours alone where PyTorch is not asked for, or sees no
    GPU."""

    def __init__(self, with_torch: bool) -> None:
        self.failures = 0
        self.ours = Worker("gpu_ours")
        self.theirs = Worker("gpu_theirs") if with_torch else None
        self.peaks: dict[str, float] = self.ours.call("peaks")
        self.facts: dict[str, str] = self.ours.call("gpu_facts")
        self.facts |= {k: v for k, v in self.ours.call("machine_facts").items() if k != "BLAS"}
        if self.theirs:
            found = self.theirs.call("facts")
            if "GPU" not in found:
                self._close(self.theirs)
                self.theirs, found["torch"] = None, f"{found['torch']}, which sees no GPU: left out"
            self.facts = found | self.facts

    def __enter__(self) -> GpuPair:
        return self

    def __exit__(self, *_: object) -> None:
        self._close(self.ours)
        self._close(self.theirs)

    @staticmethod
    def _close(worker: Worker | None) -> None:
        if worker:
            worker.close()

    def restart(self) -> None:
        """Two fresh processes: after an error on a GPU everything else fails, too."""
        self.failures += 1
        self.__exit__()
        self.ours = Worker("gpu_ours")
        self.theirs = Worker("gpu_theirs") if self.theirs else None

    def measure(self, job: Job, tf32: bool, steps: int, turns: int, compiled: bool) -> Result:
        """NotTheSame if the two do not compute the same."""
        subject, gradient, moved = self.ours.call("prepare", job, tf32)
        runs: list[tuple[Worker, str]] = [(self.ours, "ours eager"), (self.ours, "ours graph")]
        errors: dict[str, tuple[float, float]] = {}
        failed: dict[str, str] = {}
        if self.theirs:
            self.theirs.call("start", tf32)
            for name in self.theirs.call("names", job, compiled):
                answer: Any = self.theirs.call("prepare", name, job, subject, gradient)
                if isinstance(answer, str):
                    failed[name] = answer
                else:
                    errors[name] = answer
                    check(job, name, *answer)
                    runs.append((self.theirs, name))
        found: dict[str, list[float]] = {name: [] for _, name in runs}
        for _ in range(turns):
            for worker, name in runs:
                found[name].append(worker.call("turn", name, steps))
        for worker, name in runs:
            if not abs(worker.call("loss", name)) < float("inf"):
                raise Problem(f"{job.model}: the loss of {name} is no longer finite")
        self.ours.call("forget")
        return Result(job, tf32, subject.flop / 1e9, moved / 1e9, found, errors, failed)


def check(job: Job, name: str, loss_error: float, gradient_error: float) -> None:
    """NotTheSame if PyTorch's run and ours do not compute the same."""
    limits = (("losses", loss_error, SAME), ("gradients", gradient_error, SAME_GRADIENT))
    for what, error, limit in limits:
        if not error <= limit:
            raise NotTheSame(
                f"{job.model}, batch {job.batch_size}: the {what} of PyTorch ({name}) and ours "
                f"differ by {error:.1e}, more than {limit:g}: they do not compute the same"
            )
