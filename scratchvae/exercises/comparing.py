"""Compare one result of a solution with the right one, and say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..gradcheck.hints import Comparison
from .course import Exercise
from .trials import RETURNED, Results, Trial


def compared(
    name: str, all_got: Results, all_right: Results, trial: Trial, exercise: Exercise
) -> tuple[list[str], str]:
    """A row for the table, and, if this result is wrong, what is wrong; ideas why, a line each."""
    got, right = all_got[name], all_right[name]
    given = name in ("y", "the loss")  # what the exercise does not ask for
    if right is None and got is None:
        return [], ""
    shape = str(np.shape(right))
    if problem := _unlike(name, got, all_right, trial):
        return [name, shape, "-", "WRONG"], problem
    a, b = np.asarray(got, "float64"), np.asarray(right, "float64")
    error = _error(a, b)
    if error <= trial.tolerance:
        return [] if given else [name, shape, f"{error:.1e}", "ok"], ""
    if given:
        return [], (
            f"{name} is not what the original returns: write {exercise.function} only, and leave "
            f"the rest of the file as `scratchvae exercise {exercise.name}` writes it"
        )
    at = np.unravel_index(np.argmax(np.where(np.isfinite(a), abs(a - b), np.inf)), a.shape)
    where = f"{name}[{', '.join(map(str, at))}]" if at else name
    others = {n: np.asarray(r, "float64") for n, r in all_right.items()
              if n != name and isinstance(r, np.ndarray)}  # fmt: skip
    comparison = Comparison(
        a, b, max(1e-7, trial.tolerance), trial.known, others, trial.options, trial.dy
    )
    old = trial.known.get(name)  # of an argument that is changed in place
    if old is not None and np.array_equal(a, old, equal_nan=True):
        idea = (
            f"it has not changed: {name} = ... would make a new array, {name}[...] = ... or "
            f"{name} -= ... changes this one"
        )
    elif old is not None and np.isclose(comparison.factor(a - old, b - old), -1):
        idea = "its change is -1 times the right change: is a sign wrong?"
    else:
        idea = next(comparison.ideas(), "") or comparison.where()
    numbers = [f"{n:.6g}" for n in (a[at] + 0, b[at] + 0)]
    if numbers[0] == numbers[1]:
        numbers = [f"{n:.12g}" for n in (a[at] + 0, b[at] + 0)]
    fact = f"{name} is wrong: {where} is {numbers[0]}, and should be {numbers[1]}"
    return [name, shape, f"{error:.1e}", "WRONG"], f"{fact}\n{idea[:1].upper()}{idea[1:]}"


def _unlike(name: str, got: Any, all_right: Results, trial: Trial) -> str:
    """A sentence about another shape, dtype or kind."""
    right = all_right[name]
    if right is None and name == RETURNED:
        return f"{name} must be None, because the arrays are changed in place; got {_kind(got)}"
    if right is None:
        return f"{name} must be None here, got {_kind(got)}"
    if not isinstance(right, np.ndarray):
        if isinstance(got, int | float | np.generic):
            return ""
        return f"{name} must be a number, got {_kind(got)}"
    if type(got) is not np.ndarray:
        lost = ": is a sum over too many axes?" if isinstance(got, np.generic) else ""
        return f"{name} must be a NumPy array of shape {right.shape}, got {_kind(got)}{lost}"
    if got.shape != right.shape:
        return f"{name} must have shape {right.shape}, got {got.shape}" + _why_this_shape(
            name, got.shape, all_right, trial
        )
    if got.dtype != right.dtype:
        return (
            f"{name} must be {right.dtype} like the other arrays, got {got.dtype}: a function "
            "keeps the dtype of its arguments"
        )
    return ""


def _why_this_shape(name: str, got: tuple[int, ...], all_right: Results, trial: Trial) -> str:
    """A question that follows from the shape; maybe none."""
    right = all_right[name].shape
    if got == right[::-1]:
        return ": is it transposed?"
    for other, a in all_right.items():
        if other not in (name, "y") and np.shape(a) == got and a is not None:
            return f", the shape of {other}: are the results in the wrong order?"
    if sorted(got) == sorted(right):
        return ": are the axes in another order?"
    if np.prod(got) == np.prod(right):
        return ": is a reshape missing?"
    padding = trial.options.get("padding", (0, 0))
    if len(got) == 4 and got[2:] == tuple(
        n + 2 * p for n, p in zip(right[2:], padding, strict=True)
    ):
        return ": is the padding still there?"
    if len(got) != len(right):
        too = "a sum over the other axes missing" if len(got) > len(right) else ""
        return f": is {too or 'a sum over too many axes'}?"
    return ": is it a sum over another axis?" if len(got) == 1 else ""


def _kind(a: Any) -> str:
    if a is None:
        return "None: is the `return` missing?"
    if isinstance(a, float | np.floating):
        return "a single number"
    if not hasattr(a, "shape"):
        return _article(type(a).__name__)
    name = "array" if type(a) is np.ndarray else type(a).__name__
    return f"{_article(name)} of shape {a.shape}"


def _error(got: np.ndarray, right: np.ndarray) -> float:
    """The largest difference relative to the largest number. NaN and infinity must agree."""
    finite = np.isfinite(right)
    if not np.array_equal(got[~finite], right[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(got[finite]).all():
        return float("inf")
    off = np.max(abs(got[finite] - right[finite]), initial=0)
    return float(off / (np.max(abs(right[finite]), initial=0) or 1))


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
