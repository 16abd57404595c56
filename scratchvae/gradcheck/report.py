"""The result of a check: a row for each tensor, the table, and the error with the worst one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

from ..notebook import html_table
from ..output import table

METHODS = {
    "central": "central differences",
    "direction": "central differences along random directions",
    "complex": "complex step",
    "adjoint": "adjointness",
}

COLOURS = {"ok": "green", "zero": "green", "FAIL": "red"}  # other verdicts are yellow
GIVES = {"complex": "the complex step gives", "adjoint": "the forward pass gives"}


class Result(NamedTuple):
    """One tensor: the error of its gradient, measured by the forward pass.

    `verdict` is one of

        ok      the error is within the limit
        zero    both sides are zero, or below 1e-13 (a model's: 1e-12) of the largest gradient
        unseen  not confirmed: the numeric side is uncertain, or rounding exceeds the limit
        kinks   not confirmed: all elements, or the direction, lie within a step of a kink
        not checked  backward returned None without `without_gradient`
        FAIL    the gradient is wrong
    """

    tensor: str
    shape: tuple[int, ...]
    limit: float
    verdict: str
    compared: int = 0  # elements and directions
    skipped: int = 0  # elements omitted because of a kink within the step
    wrong: int = 0  # of those compared
    error: float = 0.0  # the worst, relative to the largest element (a direction: to the norm)
    where: tuple[int, ...] | None = None  # the worst element; None: a whole direction
    analytic: float = math.nan  # the gradient of backward there
    numeric: float = math.nan  # the derivative of the forward pass there
    step: float = math.nan  # the h of that measurement; 1 for adjointness
    rounding: float = math.nan  # estimated part of the error from rounding of the differences
    hint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the gradient was confirmed."""
        return self.verdict in ("ok", "zero")


@dataclass(eq=False, repr=False)
class Report(Sequence[Result]):
    """The results of one check, tensor by tensor. `print` and a notebook show a table."""

    subject: str
    method: str
    results: list[Result]
    faults: Sequence[str] = ()  # of backward itself, see trials.py
    notes: Sequence[str] = ()  # what was omitted to save time

    def __len__(self) -> int:
        return len(self.results)

    def __getitem__(self, key: Any) -> Any:
        """By position, or by the tensor's name."""
        if isinstance(key, str):
            return {result.tensor: result for result in self.results}[key]
        return self.results[key]

    @property
    def passed(self) -> bool:
        """Whether every gradient was confirmed, and backward has no other fault."""
        return bool(self.results) and not self.faults and all(r.passed for r in self.results)

    @property
    def worst(self) -> Result:
        """The result with the largest error; those that failed come first."""
        return max(self.results, key=lambda r: (not r.passed, r.verdict == "FAIL", r.error))

    @property
    def zeros(self) -> list[str]:
        """The tensors whose gradient is identically zero."""
        return [result.tensor for result in self.results if result.verdict == "zero"]

    def _rows(self) -> list[list[str]]:
        """The cells of the table, with the heading."""
        rows = [
            ["gradient of", "shape", "compared", "kinks", "error", "limit", "rounding", "step",
             "worst at", "backward", METHODS[self.method].partition(" along")[0], "verdict"]
        ]  # fmt: skip
        for r in self.results:
            numbers = [*"--------"]
            if r.verdict != "not checked":
                at = "a direction" if r.where is None else str(r.where)
                numbers = [str(r.skipped), f"{r.error:.1e}", f"{r.limit:.0e}", f"{r.rounding:.0e}",
                           f"{r.step:.0e}", at, *_both_sides(r)]  # fmt: skip
            rows.append([r.tensor, str(r.shape), str(r.compared), *numbers, r.verdict])
        if self.method not in ("central", "direction"):  # no step, hence no kinks and no rounding
            rows = [row[:3] + row[4:6] + row[8:] for row in rows]
        return rows

    def __str__(self) -> str:
        lines = [f"{self.subject}: {METHODS[self.method]}", table(self._rows()), *self.notes]
        return "\n".join(lines + [f"FAIL: {fault}" for fault in self.faults])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """For a notebook: the table, and below it what is wrong."""
        colours = [COLOURS.get(r.verdict, "yellow") for r in self.results]
        title = f"{self.subject}: {METHODS[self.method]}"
        lines = [html_table(self._rows(), title, colours)]
        lines += [f"<p>{escape(note)}</p>" for note in self.notes]
        if not self.passed and (why := self.failure()):
            lines.append(f"<pre>{escape(why)}</pre>")
        return "\n".join(lines)

    def failure(self) -> str:
        """The worst result and the other faults of backward, in words."""
        if all(r.passed for r in self.results):
            return "\n    ".join([f"{self.subject}: {fault}" for fault in self.faults])
        r = self.worst
        nothing = f"{self.subject}: the gradient of {r.tensor} could not be checked"
        where = f"at {r.tensor}{list(r.where)}" if r.where else f"at {r.tensor}"
        where = f"along a direction of {r.tensor}" if r.where is None else where
        analytic, numeric = _both_sides(r)
        gives = GIVES.get(self.method, "differences give")
        sides = f"{where} backward gives {analytic}, {gives} {numeric}"
        lines = {
            "not checked": [
                f"{self.subject}: the gradient of {r.tensor} is not checked: backward gave None",
                "return one, or declare that there is none: without_gradient=[...]",
            ],
            "kinks": [
                nothing,
                f"the step crosses a kink in {r.skipped} comparisons: move the inputs away from it",
            ],
            "unseen": [nothing, f"{sides}, but the latter is too uncertain for a verdict"],
            "FAIL": [
                f"{self.subject}: the gradient of {r.tensor}, shape {r.shape}, is wrong",
                sides,
                f"{r.wrong} of {r.compared} comparisons fail; the worst relative error is "
                f"{r.error:.2g} (limit {r.limit:g})",
            ],
        }[r.verdict]
        lines += [r.hint] if r.hint else []
        if others := [x.tensor for x in self.results if not x.passed and x is not r]:
            more = f" and {len(others) - 8} more" if len(others) > 8 else ""
            lines.append(f"not confirmed either: {', '.join(others[:8])}{more}")
        return "\n    ".join([*lines, *self.faults])


class GradientError(AssertionError):
    """A gradient is wrong, or could not be confirmed. `report` has the numbers."""

    def __init__(self, report: Report) -> None:
        super().__init__(report.failure())
        self.report = report

    def _repr_html_(self) -> str:
        return self.report._repr_html_()

    def __reduce__(self) -> Any:
        """Copy and pickle from the report, not from the message."""
        return GradientError, (self.report,)


def _both_sides(r: Result) -> tuple[str, str]:
    """Both numbers, with six digits, or enough to show how a failed pair differs."""
    for digits in range(6, 18):
        sides = f"{r.analytic:.{digits}g}", f"{r.numeric:.{digits}g}"
        if r.passed or sides[0] != sides[1]:
            break
    return sides
