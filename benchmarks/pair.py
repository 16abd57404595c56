"""Ours and PyTorch, a process each, on the same job: prepare both, compare, measure in turns."""

from __future__ import annotations

from typing import Any, NamedTuple

from jobs import Job, Subject
from machine import has_torch
from measure import NO_TORCH, Problem, Spread, Worker, alternate, best, spread

SAME = 1e-3  # further apart, relative to the largest number, the two do not compute the same


class Result(NamedTuple):
    """The times of one job, in milliseconds by run: "ours", and PyTorch's by memory format."""

    job: Job
    gflop: float  # of a step
    milliseconds: dict[str, list[float]]
    errors: dict[str, float]  # of the first loss, or of images or codes, against ours

    def spread(self, run: str) -> Spread:
        return spread(self.milliseconds[run])

    def best(self, fused: bool = False) -> str | None:
        """PyTorch's best run, with its default update or the fused one; None if there is none."""
        names = [name for name in self.errors if name.endswith("fused") == fused]
        return best(self.milliseconds, names) if names else None

    def ratio(self, run: str) -> float:
        """Our median over this one's: below 1, ours is faster."""
        return self.spread("ours").median / self.spread(run).median

    @property
    def gflops(self) -> float:
        """Of ours: GFLOP a second."""
        return 1e3 * self.gflop / self.spread("ours").median

    def as_json(self) -> dict[str, Any]:
        return self._asdict() | {"job": self.job._asdict()}


class Pair:
    """The two processes; `with` ends them. Ours alone where PyTorch is not asked for."""

    def __init__(self, with_torch: bool) -> None:
        if with_torch and not has_torch():
            raise Problem(NO_TORCH)
        self.ours = Worker("ours")
        self.theirs = Worker("theirs") if with_torch else None
        torch = self.theirs.call("machine_facts") if self.theirs else {}
        self.machine: dict[str, str] = torch | self.ours.call("machine_facts")
        self.peak: float = self.ours.call("sgemm_peak")  # now that the other has started and sleeps

    def __enter__(self) -> Pair:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (self.ours, self.theirs):
            if worker:
                worker.close()

    def measure(self, job: Job, steps: int) -> Result:
        """Problem if the two do not compute the same."""
        subject: Subject = self.ours.call("prepare", job)
        sides, errors = [(self.ours, "ours")], {}
        if self.theirs:
            errors = self.theirs.call("prepare", job, subject)
            sides += [(self.theirs, name) for name in errors]
        for name, error in errors.items():
            if not error <= SAME:
                raise Problem(
                    f"{job.model}, {job.what}: PyTorch ({name}) and ours differ by {error:.1e}, "
                    f"more than {SAME:g}: they do not compute the same"
                )
        found = alternate(sides, steps)
        for worker, name in sides:
            if job.what == "train" and not worker.call("is_finite", name):
                raise Problem(f"{job.model}: the loss of {name} is no longer finite")
        for worker, _ in sides[:2]:
            worker.call("forget")
        return Result(job, subject.flop / 1e9, found, errors)
