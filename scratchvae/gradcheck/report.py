"""What a check found: a row for each tensor, the table, and the error that names the worst."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..output import table

METHODS = {
    "central": "central differences",
    "direction": "central differences along random directions",
    "complex": "complex step",
    "adjoint": "adjointness",
}

SAYS = {
    "central": "differences say",
    "direction": "differences say",
    "complex": "the complex step says",
    "adjoint": "the forward pass says",
}


class Result(NamedTuple):
    """One tensor: how far its gradient is from what the forward pass does.

    `verdict` is one of

        ok      the error is within the limit
        zero    both sides are zero, or rounding: below 1e-13 of the subject's largest gradient
                (of a model's: 1e-12)
        unseen  they differ by no more than the numeric side is uncertain, or rounding is larger
                than the limit: nothing is shown
        kinks   all elements lie within a step of a kink, or the direction does that stands for
                those not sampled: nothing is shown
        not checked  backward gave None, and the caller did not say that it would
        FAIL    the gradient is wrong
    """

    tensor: str
    shape: tuple[int, ...]
    compared: int  # elements and directions
    skipped: int  # elements left out, a kink lies within the step
    wrong: int  # of those compared
    error: float  # the worst, relative to the largest element (a direction: to the norm)
    limit: float
    where: tuple[int, ...] | None  # the worst element; None: a whole direction
    analytic: float  # what backward says there
    numeric: float  # what the forward pass does there
    step: float  # h where this was seen; adjointness follows a line to its end, 1
    rounding: float  # the part of the error that the differences' own rounding may make, about
    verdict: str
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gradient was shown to be right."""
        return self.verdict in ("ok", "zero")


def not_checked(tensor: str, shape: tuple[int, ...], limit: float) -> Result:
    """The row of a tensor for which backward gave None."""
    nan = math.nan
    return Result(tensor, shape, 0, 0, 0, 0.0, limit, None, nan, nan, nan, nan, "not checked")


class GradientError(AssertionError):
    """A gradient is wrong, or could not be shown to be right. `report` has the numbers."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.failure())
        self.report = report

    def __reduce__(self) -> Any:
        """A copy, also in another process, is made from the report, not from the words."""
        return GradientError, (self.report,)


class Report(Sequence[Result]):
    """The results of one check, tensor by tensor. Printed, it is a table."""

    def __init__(
        self,
        subject: str,
        method: str,
        results: Sequence[Result],
        faults: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        self.subject, self.method, self.results = subject, method, list(results)
        self.faults = list(faults)  # of backward itself, see trials.py
        self.notes = list(notes)  # what was left out to save time

    def __len__(self) -> int:
        return len(self.results)

    def __iter__(self) -> Iterator[Result]:
        return iter(self.results)

    def __getitem__(self, key: Any) -> Any:
        """By position, or by the tensor's name."""
        if isinstance(key, str):
            return {result.tensor: result for result in self.results}[key]
        return self.results[key]

    @property
    def passed(self) -> bool:
        """Whether every gradient was shown to be right, and backward has no other fault."""
        return bool(self.results) and not self.faults and all(r.passed for r in self.results)

    @property
    def worst(self) -> Result:
        """The result with the largest error; those that failed come first."""
        return max(self.results, key=lambda r: (not r.passed, r.verdict == "FAIL", r.error))

    @property
    def zeros(self) -> list[str]:
        """The tensors whose gradient is identically zero."""
        return [result.tensor for result in self.results if result.verdict == "zero"]

    def __str__(self) -> str:
        differences = self.method in ("central", "direction")
        rows = [
            ["gradient of", "shape", "compared", "kinks", "error", "limit", "rounding", "step",
             "worst at", "backward", METHODS[self.method].partition(" along")[0], "verdict"]
        ]  # fmt: skip
        for r in self.results:
            if r.verdict == "not checked":
                rows.append([r.tensor, str(r.shape), "0", *"--------", r.verdict])
                continue
            place = "a direction" if r.where is None else str(r.where)
            rows.append(
                [r.tensor, str(r.shape), str(r.compared), str(r.skipped), f"{r.error:.1e}",
                 f"{r.limit:.0e}", f"{r.rounding:.0e}", f"{r.step:.0e}", place,
                 *_both_sides(r), r.verdict]
            )  # fmt: skip
        if not differences:  # no step to choose, hence no kinks within it and no rounding
            rows = [row[:3] + row[4:6] + row[8:] for row in rows]
        lines = [f"{self.subject}: {METHODS[self.method]}", table(rows), *self.notes]
        return "\n".join(lines + [f"FAIL: {fault}" for fault in self.faults])

    def failure(self) -> str:
        """The worst result in words: which element of which tensor, and by how much; and what
        else is wrong with backward."""
        if all(r.passed for r in self.results):
            return "\n    ".join([f"{self.subject}: {fault}" for fault in self.faults])
        r, says = self.worst, SAYS[self.method]
        place = f"{r.tensor}{list(r.where)}" if r.where else r.tensor
        place = f"along a direction of {r.tensor}" if r.where is None else f"at {place}"
        analytic, numeric = _both_sides(r)
        sides = f"{place} backward says {analytic}, {says} {numeric}"
        if r.verdict == "not checked":
            lines = [
                f"{self.subject}: the gradient of {r.tensor} is not checked: backward gave None",
                "return one, or say that there is none: without_gradient=[...]",
            ]
        elif r.verdict == "kinks":
            lines = [
                f"{self.subject}: nothing is shown about the gradient of {r.tensor}",
                f"what would show it ({r.skipped} compared) lies within a step of a kink: move the "
                "inputs away from it",
            ]
        elif r.verdict == "unseen":
            hidden = "rounding or kinks hide the rest: try another h, or method='complex'"
            lines = [
                f"{self.subject}: nothing is shown about the gradient of {r.tensor}",
                f"{sides}, but the latter is not certain enough to judge that",
                r.hint or hidden,
            ]
        else:
            lines = [
                f"{self.subject}: the gradient of {r.tensor}, shape {r.shape}, is wrong",
                sides,
                f"{r.wrong} of {r.compared} compared are off, the worst by {r.error:.2g} (limit "
                f"{r.limit:g}), relative to the largest",
                *([r.hint] if r.hint else []),
            ]
        others = [x.tensor for x in self.results if not x.passed and x is not r]
        if others:
            more = f" and {len(others) - 8} more" if len(others) > 8 else ""
            lines.append(f"not shown to be right either: {', '.join(others[:8])}{more}")
        return "\n    ".join([*lines, *self.faults])


def _both_sides(r: Result) -> tuple[str, str]:
    """Both numbers, with six digits, or as many as show that they differ where that matters."""
    digits = 6
    if not r.passed:
        while digits < 17 and f"{r.analytic:.{digits}g}" == f"{r.numeric:.{digits}g}":
            digits += 1
    return f"{r.analytic:.{digits}g}", f"{r.numeric:.{digits}g}"
