"""Judge a solution: run it beside the original, then beside differences of its own forward."""

from __future__ import annotations

import ast
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import REGISTRY, using
from ..gradcheck import compare
from ..gradcheck.check import subject_of_case
from ..gradcheck.hints import Comparison
from ..ops import CASES, Losses
from ..output import table
from .course import COURSE, Exercise, absolute_imports, source_of
from .gallery import GALLERY
from .trials import Results, Trial, Wrong, trials

# No op has these names, so no kernel replaces the code.
MODULE, MISTAKEN = "exercise_of_a_student", "mistake_of_the_gallery"
SHOWN = 8  # wrong gradients of a model


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
    exercise = exercise_of(file, text)
    verdict = Verdict(file, f"exercise {exercise.number}, {exercise.function}")
    with using("numpy"), module_of(text, file) as module:
        try:
            _judge(exercise, module, verdict)
        except Wrong as wrong:
            verdict.sentences.append(f"{exercise.function}{verdict.where}: {wrong}.")
        except NotImplementedError:
            verdict.sentences += [
                f"{exercise.function} is not written yet: replace the line `raise "
                "NotImplementedError(...)` by its body.",
                f"For a hint: scratchvae exercise {exercise.name} --hint 1",
            ]
        except Exception as error:
            verdict.sentences.append(_where_it_failed(error, exercise, verdict, text))
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
    except SyntaxError as error:
        line = (error.text or "").strip()
        raise ValueError(f"{file}, line {error.lineno}: {error.msg}: {line}") from None
    defined = {name for node in tree.body for name in _names(node)}
    for exercise in COURSE.values():
        if exercise.function in defined:
            return exercise
    functions = ", ".join(exercise.function for exercise in COURSE.values())
    raise ValueError(
        f"{file}: expected a solution, which defines one of {functions}; `scratchvae exercise` "
        "lists the exercises"
    )


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    if isinstance(node, ast.ClassDef):
        yield from (f"{node.name}.{n}" for inner in node.body for n in _names(inner))


@contextmanager
def module_of(text: str, file: Path, name: str = MODULE) -> Iterator[ModuleType]:
    """The text as a module, for a `with` block. ValueError if it cannot be run."""
    module = ModuleType(name)
    module.__file__ = str(file)
    sys.modules[name] = module  # for dataclasses, which look their module up
    try:
        try:
            exec(compile(text, str(file), "exec", dont_inherit=True), vars(module))
        except (Exception, SystemExit) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            line = f", line {frame.lineno}" if frame.filename == str(file) else ""
            raise ValueError(f"{file}{line}: {type(error).__name__}: {error}") from error
        yield module
    finally:
        del sys.modules[name]
        REGISTRY.pop(name, None)


def _judge(exercise: Exercise, module: ModuleType, verdict: Verdict) -> None:
    """Run all trials, up to the first that shows a mistake."""
    original = import_module(exercise.module)
    for trial in trials(exercise, original):
        verdict.where = f" {trial.where}" if trial.where else ""
        right, got = trial.run(original), trial.run(module)
        found = [_compared(name, got[name], right, trial, exercise) for name in right]
        sentences = [sentence for _, sentence in found if sentence]
        if sentences or not verdict.rows:
            verdict.rows = [row for row, _ in found if row]
        if sentences:
            where = f"In the case {trial.where}: " if trial.where else ""
            verdict.sentences = [where + sentence for sentence in sentences[:SHOWN]]
            if (more := len(sentences) - SHOWN) > 0:
                verdict.sentences.append(f"{more} more are wrong.")
            if "." in exercise.function:  # a mistake in a model spoils all gradients after it
                wrong = next(
                    name for name, (_, sentence) in zip(right, found, strict=True) if sentence
                )
                verdict.sentences.append(f"Going backward, {wrong} is the first that is wrong.")
            verdict.sentences += _in_the_gallery(exercise, trial, got)
            verdict.sentences.append(f"For a hint: scratchvae exercise {exercise.name} --hint 1")
            return
    if exercise.name in CASES:
        verdict.sentences += _by_gradcheck(exercise, module)


def _compared(
    name: str, got: Any, all_right: Results, trial: Trial, exercise: Exercise
) -> tuple[list[str], str]:
    """A row for the table, and a sentence if this result is wrong."""
    right = all_right[name]
    given = name in ("y", "the loss")  # what the exercise does not ask for
    if right is None and got is None:
        return [], ""
    shape = str(np.shape(right))
    if problem := _unlike(name, got, right):
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
    comparison = Comparison(a, b, max(1e-7, trial.tolerance), trial.known, others)
    idea = next(comparison.ideas(), "") or comparison.where()
    if name in trial.known and np.array_equal(a, trial.known[name]):
        idea = f"it has not changed: change the array itself, as in {name} -= ..."
    stop = "" if idea.endswith(("?", "...")) else "."
    sentence = f"{name} is wrong: {where} is {a[at]:.6g}, and should be {b[at]:.6g}; {idea}{stop}"
    return [name, shape, f"{error:.1e}", "WRONG"], sentence


def _unlike(name: str, got: Any, right: Any) -> str:
    """A sentence about another shape, dtype or kind."""
    if right is None:
        return f"{name} must be None here, got {_kind(got)}."
    if not isinstance(right, np.ndarray):
        if isinstance(got, int | float | np.generic) or np.shape(got) == ():
            return ""
        return f"{name} must be a number, got {_kind(got)}."
    if not isinstance(got, np.ndarray):
        return f"{name} must be an array of shape {right.shape}, got {_kind(got)}."
    if got.shape != right.shape:
        turned = got.shape[::-1] == right.shape
        hint = ": is it transposed?" if turned else _lost_axis(got.shape, right.shape)
        return f"{name} must have shape {right.shape}, got {got.shape}{hint or '.'}"
    if got.dtype != right.dtype:
        return (
            f"{name} must be {right.dtype} like its input, got {got.dtype}: a gradient keeps the "
            "dtype of the forward pass."
        )
    return ""


def _lost_axis(got: tuple[int, ...], right: tuple[int, ...]) -> str:
    if len(got) > len(right):
        return ": is a sum over the other axes missing?"
    return ": is a sum over too many axes?" if len(got) < len(right) else ""


def _kind(a: Any) -> str:
    return f"an array of shape {a.shape}" if isinstance(a, np.ndarray) else type(a).__name__


def _error(got: np.ndarray, right: np.ndarray) -> float:
    """The largest difference relative to the largest number. NaN and infinity must agree."""
    finite = np.isfinite(right)
    if not np.array_equal(got[~finite], right[~finite], equal_nan=True):
        return float("inf")
    if not np.isfinite(got[finite]).all():
        return float("inf")
    off = np.max(abs(got[finite] - right[finite]), initial=0)
    return float(off / (np.max(abs(right[finite]), initial=0) or 1))


def _in_the_gallery(exercise: Exercise, trial: Trial, got: Results) -> list[str]:
    """The mistake of the gallery that gives the same wrong results."""
    for fault in GALLERY.values():
        if fault.module != exercise.module:
            continue
        text = source_of(fault.module)
        for before, after in fault.changes:
            text = text.replace(before, after)
        text = absolute_imports(text, fault.module.rpartition(".")[0])
        try:
            with module_of(text, Path(f"{fault.name}.py"), MISTAKEN) as module:
                mistaken = trial.run(module)
        except Exception:
            continue
        if all(np.array_equal(a, got[n], equal_nan=True) if isinstance(a, np.ndarray)
               else a == got[n] for n, a in mistaken.items()):  # fmt: skip
            return [f"It is a mistake of the gallery, `{fault.name}`: {fault.mistake}."]
    return []


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


def _where_it_failed(error: Exception, exercise: Exercise, verdict: Verdict, text: str) -> str:
    """The student's line that raised an exception, or led to it."""
    frames = traceback.extract_tb(error.__traceback__)
    number = next((f.lineno for f in frames[::-1] if f.filename == str(verdict.file)), None)
    line = f" in line {number}, `{text.splitlines()[number - 1].strip()}`" if number else ""
    said = f"{type(error).__name__}: {error}"
    return f"{exercise.function} fails{verdict.where}{line}: {said}"
