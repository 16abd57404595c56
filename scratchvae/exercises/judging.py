"""Judge a solution: run it beside the original, then beside differences of its own forward."""

from __future__ import annotations

import ast
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import using
from ..gradcheck import compare
from ..gradcheck.check import subject_of_case
from ..ops import CASES, Losses
from ..output import table
from .clues import Probe, in_the_gallery, module_of, same
from .comparing import compared
from .course import COURSE, Exercise
from .trials import Results, Trial, Wrong, trials

HEADS = ["result", "shape", "largest error", "verdict"]
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
        rows = [table([HEADS, *self.rows]), ""]
        lines = [f"{self.file}: {self.subject}", "", *(rows if self.rows else [])]
        return "\n".join([*lines, *(self.sentences or [self.praise])])


class _Failed(Exception):
    """The exception that the code of the solution raised."""


@contextmanager
def _running() -> Iterator[None]:
    """Tell the exceptions of the solution from our own."""
    try:
        yield
    except (Wrong, NotImplementedError):
        raise
    except (Exception, SystemExit) as error:
        raise _Failed(error) from error


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
    with using("numpy"), module_of(text, file) as module, np.errstate(all="ignore"):
        try:
            _judge(exercise, module, verdict)
        except Wrong as wrong:
            stop = "" if str(wrong).endswith("?") else "."
            where = _beginning(verdict.where)
            verdict.sentences.append(f"{where}{exercise.function} is wrong: {wrong}{stop}")
        except NotImplementedError:
            verdict.sentences += [
                f"{exercise.function} is not written yet: replace the line `raise "
                "NotImplementedError(...)` by its body.",
                f"For a hint: scratchvae exercise {exercise.name} --hint 1",
            ]
        except _Failed as failed:
            verdict.sentences += _where_it_failed(failed.args[0], exercise, verdict, text)
    verdict.praise = _praise(exercise)
    return verdict


def _praise(exercise: Exercise) -> str:
    """What has been shown, and the next exercise."""
    judges = "the original and the complex step" if exercise.name in CASES else "the original"
    said = f"{exercise.function} is right: it agrees with {judges}."
    later = [e for e in COURSE.values() if e.number == exercise.number + 1]
    return said + "".join(f" Next: scratchvae exercise {e.name}" for e in later)


def parsed(file: Path, text: str) -> ast.Module:
    """The text as Python. ValueError, which names the file and the line, if it is not."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        line = f", line {error.lineno}" if error.lineno else ""
        code = f": {(error.text or '').strip()[:CUT]}" if error.text else ""
        raise ValueError(f"{file}{line}: {error.msg}{code}") from None
    except (ValueError, RecursionError, MemoryError) as error:  # zeros, or too deep for the parser
        raise ValueError(f"{file}: {str(error) or 'too complex for the parser'}") from None


def exercise_of(file: Path, text: str) -> Exercise:
    """The exercise whose function the text defines."""
    tree = parsed(file, text)
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
    if _accelerated(original, exercise) and not _accelerated(module, exercise):
        raise Wrong("the line @accelerated above its def is missing")
    tried: list[tuple[Trial, Results]] = []
    kept: list[tuple[str, np.ndarray, np.ndarray]] = []  # earlier results, and copies of them
    for trial in trials(exercise, original):
        verdict.where = trial.where
        right = trial.run(original)
        with _running():
            got = trial.run(module)
        tried.append((trial, right))
        for name, a, copy in kept:
            if not same(a, copy):
                raise Wrong(f"a second call changes {name} of the first: return a new array")
        sentences, rows = _compare(exercise, trial, original, module, right, got)
        if sentences or not verdict.rows:
            verdict.rows = rows
        if sentences:
            verdict.sentences = [_beginning(trial.where) + sentences[0], *sentences[1:]]
            verdict.sentences += in_the_gallery(exercise, tried, right, got)
            verdict.sentences.append(f"For a hint: scratchvae exercise {exercise.name} --hint 1")
            return
        if "." not in exercise.function:
            kept += [(n, a, a.copy()) for n, a in got.items() if isinstance(a, np.ndarray)]
    if exercise.name in CASES:
        verdict.sentences += _by_gradcheck(exercise, module)


def _accelerated(module: Any, exercise: Exercise) -> bool:
    return hasattr(getattr(module, exercise.function, None), "reference")


def _beginning(where: str) -> str:
    return f"{where[0].upper()}{where[1:]}: " if where else ""


def _compare(
    exercise: Exercise, trial: Trial, original: Any, module: Any, right: Results, got: Results
) -> tuple[list[str], list[list[str]]]:
    """Sentences about what is wrong, and rows for the table."""
    found = {name: compared(name, got, right, trial, exercise) for name in right}
    wrong = [name for name, (_, sentence) in found.items() if sentence]
    unchanged = [n for n, a in trial.known.items() if n in right and same(a, right[n])]
    rows = [
        row for row, sentence in found.values() if row and (sentence or row[0] not in unchanged)
    ]
    if not wrong:
        return [], rows
    probe = Probe(trial, original, module, right, got)
    sentences = []
    for name in wrong[:SHOWN]:
        fact, *ideas = found[name][1].splitlines()
        if fact.startswith(f"{name} is wrong"):
            ideas += probe.clues(name, " ".join(ideas))
        lines = [fact, *(f"    {idea}" for idea in ideas)]
        sentences.append("\n".join(line if line.endswith("?") else f"{line}." for line in lines))
    if "." not in exercise.function:
        fine = [row[0] for row in rows if row[-1] == "ok"]
        if fine and "y" not in wrong:
            listed = " and ".join([", ".join(fine[:-1])] * (len(fine) > 1) + fine[-1:])
            sentences.append(f"{listed} {'is' if len(fine) == 1 else 'are'} right.")
        return sentences, rows
    if (more := len(wrong) - SHOWN) > 0:
        sentences.append(f"{more} more {'is' if more == 1 else 'are'} wrong.")
    # a mistake in a model spoils all gradients after it
    layers = [name.rpartition(".")[0] for name in right]
    layer = wrong[0].rpartition(".")[0]
    before = layers[max(0, layers.index(layer) - 1)]
    up_to = f"right up to {before}, and " if before else ""
    sentences.append(f"Going backward, the gradients are {up_to}wrong from {layer} on.")
    return sentences, rows


def _by_gradcheck(exercise: Exercise, module: ModuleType) -> list[str]:
    """Judge by the complex step and the trials of `gradcheck`, without the original."""
    op = exercise.name

    def forward(*args: Any, **kwargs: Any) -> Any:
        y, *rest = getattr(module, f"{op}_forward")(*args, **kwargs)
        return Losses(*y) if isinstance(y, tuple) else y, *rest  # the file has a class of its own

    for case in CASES[op]:
        with _running():
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
