"""Judge a solution: run it beside the original, then beside differences of its own forward."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import using
from ..gradcheck import compare
from ..gradcheck.check import subject_of_case
from ..gradcheck.hints import Comparison
from ..ops import CASES, Losses
from ..output import table
from .clues import Probe, in_the_gallery, module_of, same
from .course import COURSE, Exercise
from .trials import RETURNED, Results, Trial, Wrong, trials

SHOWN = 3  # results that are wrong
CUT = 120  # characters of an exception's message


@dataclass
class Verdict:
    """What `scratchvae check FILE` says."""

    file: Path
    subject: str
    rows: list[list[str]] = field(default_factory=list)  # of the first trial
    sentences: list[str] = field(default_factory=list)  # what is wrong; none if all is right
    praise: str = ""
    where: str = ""  # what is special about the arguments that are being tried

    @property
    def passed(self) -> bool:
        return not self.sentences

    def __str__(self) -> str:
        rows = [table([["result", "shape", "largest error", "verdict"], *self.rows]), ""]
        lines = [f"{self.file}: {self.subject}", "", *(rows if self.rows else [])]
        return "\n".join([*lines, *(self.sentences or [self.praise])])


def judge(file: Path, text: str) -> Verdict:
    """The verdict on a solution.

    Parameters
    ----------
    file : Path
        Its name, for the messages.
    text : str
        Its content: a Python file with the function of one exercise.

    Raises
    ------
    ValueError
        If the text is not Python, cannot be run, or has no such function.
    """
    text = text.removeprefix("\ufeff")
    exercise = exercise_of(file, text)
    verdict = Verdict(file, f"exercise {exercise.number}, {exercise.function}")
    with using("numpy"), module_of(text, file) as module, np.errstate(all="ignore"):
        try:
            _judge(exercise, module, verdict)
        except Wrong as wrong:
            where = _beginning(verdict.where)
            verdict.sentences.append(f"{where}{exercise.function} is wrong: {wrong}.")
        except NotImplementedError:
            verdict.sentences += [
                f"{exercise.function} is not written yet: replace the line `raise "
                "NotImplementedError(...)` by its body.",
                f"For a hint: scratchvae exercise {exercise.name} --hint 1",
            ]
        except (Exception, SystemExit) as error:
            verdict.sentences += _where_it_failed(error, exercise, verdict, text)
    verdict.praise = _praise(exercise)
    return verdict


def _praise(exercise: Exercise) -> str:
    """What has been shown, and the next exercise."""
    judges = "the original and the complex step" if exercise.name in CASES else "the original"
    said = f"{exercise.function} is right: it agrees with {judges}."
    later = [e for e in COURSE.values() if e.number == exercise.number + 1]
    return said + "".join(f" Next: scratchvae exercise {e.name}" for e in later)


def exercise_of(file: Path, text: str) -> Exercise:
    """The exercise whose function the text defines."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        if not isinstance(error, SyntaxError):
            raise ValueError(f"{file}: {error}") from None
        line = (error.text or "").strip()
        raise ValueError(f"{file}, line {error.lineno}: {error.msg}: {line}") from None
    defined = {name for node in tree.body for name in _names(node)}
    found = [exercise for exercise in COURSE.values() if exercise.function in defined]
    if len(found) > 1:  # the comment at the top says which it is
        found = [e for e in found if f"# Exercise {e.number}: {e.function}\n" in text] or found
    if not found:
        raise ValueError(
            f"{file}: expected a file written by `scratchvae exercise`, with a function such as "
            "relu_backward; found no function of an exercise"
        )
    if len(found) > 1:
        functions = " and ".join(exercise.function for exercise in found)
        raise ValueError(f"{file}: expected one exercise in a file, found {functions}")
    return found[0]


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    if isinstance(node, ast.ClassDef):
        yield from (f"{node.name}.{n}" for inner in node.body for n in _names(inner))


def _judge(exercise: Exercise, module: ModuleType, verdict: Verdict) -> None:
    """Run all trials, up to the first that shows a mistake."""
    original = import_module(exercise.module)
    tried: list[tuple[Trial, Results]] = []
    kept: Results = {}
    for trial in trials(exercise, original):
        verdict.where = trial.where
        right, got = trial.run(original), trial.run(module)
        tried.append((trial, right))
        for name, a in kept.items():
            if not same(a, tried[-2][1][name]) and _error(a, tried[-2][1][name]) > 1e-4:
                raise Wrong(f"{name} of an earlier call has changed: return a new array each time")
        sentences, rows = _compare(exercise, trial, original, module, right, got)
        if sentences or not verdict.rows:
            verdict.rows = rows
        if sentences:
            verdict.sentences = [_beginning(trial.where) + line for line in sentences]
            verdict.sentences += in_the_gallery(exercise, tried, right, got)
            verdict.sentences.append(f"For a hint: scratchvae exercise {exercise.name} --hint 1")
            return
        kept = {name: a for name, a in got.items() if isinstance(a, np.ndarray)}
    if exercise.name in CASES:
        verdict.sentences += _by_gradcheck(exercise, module)


def _beginning(where: str) -> str:
    return f"{where[0].upper()}{where[1:]}: " if where else ""


def _compare(
    exercise: Exercise, trial: Trial, original: Any, module: Any, right: Results, got: Results
) -> tuple[list[str], list[list[str]]]:
    """Sentences about what is wrong, and rows for the table."""
    found = {name: _compared(name, got, right, trial, exercise) for name in right}
    wrong = [name for name, (_, sentence) in found.items() if sentence]
    rows = [row for row, _ in found.values() if row]
    if not wrong:
        return [], rows
    probe = Probe(trial, original, module, right, got)
    sentences = []
    for name in wrong[:SHOWN]:
        sentence = found[name][1]
        if not sentence.endswith((".", "?")):
            clue = probe.clue(name, sentence.partition("; ")[2])
            sentence += f"; {clue}." * bool(clue) or "."
        sentences.append(sentence)
    if "." not in exercise.function:
        return sentences, rows
    if (more := len(wrong) - SHOWN) > 0:
        sentences[-1] += f" {more} more are wrong."
    # a mistake in a model spoils all gradients after it
    layers = [name.rpartition(".")[0] for name in right]
    layer = wrong[0].rpartition(".")[0]
    before = layers[max(0, layers.index(layer) - 1)]
    up_to = f"right up to {before}, and " if before else ""
    sentences.append(f"Going backward, the gradients are {up_to}wrong from {layer} on.")
    return sentences, rows


def _compared(
    name: str, all_got: Results, all_right: Results, trial: Trial, exercise: Exercise
) -> tuple[list[str], str]:
    """A row for the table, and a sentence if this result is wrong. If it has no full stop, it may
    be continued."""
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
            f"the rest of the file as `scratchvae exercise {exercise.name}` writes it."
        )
    at = np.unravel_index(np.argmax(np.where(np.isfinite(a), abs(a - b), np.inf)), a.shape)
    where = f"{name}[{', '.join(map(str, at))}]" if at else name
    others = {n: np.asarray(r, "float64") for n, r in all_right.items()
              if n != name and isinstance(r, np.ndarray)}  # fmt: skip
    comparison = Comparison(
        a, b, max(1e-7, trial.tolerance), trial.known, others, trial.options, trial.dy
    )
    idea = next(comparison.ideas(), "") or comparison.where()
    old = trial.known.get(name)
    if old is not None and np.array_equal(a, old):
        idea = (
            f"it has not changed: {name} = ... would make a new array, {name}[...] = ... or "
            f"{name} -= ... changes this one."
        )
    elif old is not None and (c := comparison.factor(a - old, b - old)):
        sign = ": is a sign wrong?" if c < 0 else ""
        idea = f"its change is {c:.6g} times the right change{sign}"
    shown = next(f"{a[at]:.{digits}g}, and should be {b[at] + 0:.{digits}g}"
                 for digits in (6, 12) if digits == 12 or f"{a[at]:.6g}" != f"{b[at]:.6g}")  # fmt: skip
    sentence = f"{name} is wrong: {where} is {shown}" + f"; {idea}" * bool(idea)
    return [name, shape, f"{error:.1e}", "WRONG"], sentence


def _unlike(name: str, got: Any, all_right: Results, trial: Trial) -> str:
    """A sentence about another shape, dtype or kind."""
    right = all_right[name]
    if right is None and name == RETURNED:
        return f"it must return nothing, because it changes its arrays; it returned {_kind(got)}."
    if right is None:
        return f"{name} must be None here, got {_kind(got)}."
    if not isinstance(right, np.ndarray):
        if isinstance(got, int | float | np.generic):
            return ""
        return f"{name} must be a number, got {_kind(got)}."
    if type(got) is not np.ndarray:
        lost = ": is a sum over too many axes?" if isinstance(got, float | np.generic) else "."
        return f"{name} must be a NumPy array of shape {right.shape}, got {_kind(got)}{lost}"
    if got.shape != right.shape:
        return f"{name} must have shape {right.shape}, got {got.shape}" + _why_this_shape(
            name, got.shape, all_right, trial
        )
    if got.dtype != right.dtype:
        return (
            f"{name} must be {right.dtype} like the other arrays, got {got.dtype}: a function "
            "keeps the dtype of its arguments."
        )
    return ""


def _why_this_shape(name: str, got: tuple[int, ...], all_right: Results, trial: Trial) -> str:
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
    for option, pair in trial.options.items():
        if got[-2:] == tuple(n + 2 * p for n, p in zip(right[-2:], pair, strict=True)):
            return f": is the {option} still there?" if option == "padding" else "."
    if len(got) != len(right):
        too = "a sum over the other axes missing" if len(got) > len(right) else ""
        return f": is {too or 'a sum over too many axes'}?"
    return ": is it a sum over another axis?" if len(got) == 1 else "."


def _kind(a: Any) -> str:
    if a is None:
        return "None: is the `return` missing?"
    if isinstance(a, float | np.floating):
        return "a single number"
    plain = "an array" if type(a) is np.ndarray else f"a {type(a).__name__}"
    return f"{plain} of shape {a.shape}" if hasattr(a, "shape") else plain


def _error(got: np.ndarray, right: np.ndarray) -> float:
    """The largest difference relative to the largest number. NaN and infinity must agree."""
    finite = np.isfinite(right)
    if not np.array_equal(got[~finite], right[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(got[finite]).all():
        return float("inf")
    off = np.max(abs(got[finite] - right[finite]), initial=0)
    return float(off / (np.max(abs(right[finite]), initial=0) or 1))


def _by_gradcheck(exercise: Exercise, module: ModuleType) -> list[str]:
    """Judge by the complex step and the trials of `gradcheck`, without the original."""
    op = exercise.name

    def forward(*args: Any, **kwargs: Any) -> Any:
        y, *rest = getattr(module, f"{op}_forward")(*args, **kwargs)
        return Losses(*y) if isinstance(y, tuple) else y, *rest  # the file has a class of its own

    for case in CASES[op]:
        subject = subject_of_case(op, case, forward, getattr(module, f"{op}_backward"))
        report = compare(subject, "complex", raises=False)
        if not report.passed:
            return [report.failure()]
    return []


def _where_it_failed(
    error: BaseException, exercise: Exercise, verdict: Verdict, text: str
) -> list[str]:
    """The student's line that raised an exception, or led to it, and the shapes of its arrays."""
    name = exercise.function.rpartition(".")[2]
    steps = [(frame, number) for frame, number in traceback.walk_tb(error.__traceback__)
             if frame.f_code.co_filename == str(verdict.file)]  # fmt: skip
    steps = [step for step in steps if step[0].f_code.co_name == name][:1] or steps[-1:]
    where = f" {verdict.where}" if verdict.where else ""
    message = " ".join(f"{type(error).__name__}: {error}".split())
    message = message if len(message) <= CUT else f"{message[:CUT]}..."
    if not steps:
        return [f"{exercise.function} fails{where}: {message}"]
    frame, number = steps[0]
    line = text.splitlines()[number - 1].partition("  #")[0].strip()
    shapes = [f"{word} has shape {frame.f_locals[word].shape}"
              for word in dict.fromkeys(re.findall(r"\w+", line))
              if isinstance(frame.f_locals.get(word), np.ndarray)]  # fmt: skip
    return [
        f"{exercise.function} fails{where} in line {number}: {message}",
        f"    {line}",
        *[f"Here {', '.join(shapes)}."] * bool(shapes),
    ]
