"""What else a wrong solution shows: on what it does not depend, and which known mistake it is."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import REGISTRY
from .calls import changed, last_changed, mirrored
from .course import Exercise, absolute_imports, source_of
from .gallery import GALLERY
from .trials import Results, Trial

Change = Callable[[Any], Any]
# No op has these names, so no kernel replaces the code.
MODULE, MISTAKEN = "exercise_of_a_student", "mistake_of_the_gallery"


@contextmanager
def module_of(text: str, file: Path, name: str = MODULE) -> Iterator[ModuleType]:
    """The text as a module, for a `with` block. ValueError if it cannot be run.

    What it prints goes to stderr, so that the output of --json stays JSON; and it cannot ask.
    """
    module = ModuleType(name)
    module.__file__ = str(file)
    vars(module)["input"] = _no_input
    sys.modules[name] = module  # for dataclasses, which look their module up
    try:
        with redirect_stdout(sys.stderr):
            try:
                exec(compile(text, str(file), "exec", dont_inherit=True), vars(module))
            except (Exception, SystemExit) as error:
                frames = traceback.extract_tb(error.__traceback__)[::-1]
                number = next((f.lineno for f in frames if f.filename == str(file)), None)
                line = f", line {number}" if number else ""
                raise ValueError(f"{file}{line}: {type(error).__name__}: {error}") from error
            yield module
    finally:
        del sys.modules[name]
        REGISTRY.pop(name, None)


def _no_input(prompt: object = "") -> str:
    raise RuntimeError("an exercise cannot ask for input()")


def same(a: Any, b: Any) -> bool:
    """Whether two results are equal: arrays, numbers or None."""
    if a is None or b is None:
        return a is b
    if np.ndarray in (type(a), type(b)) and type(a) is not type(b):  # a matrix is no array
        return False
    return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=True))


class Probe:
    """The solution and the original with one argument changed at a time."""

    def __init__(self, trial: Trial, original: Any, module: Any, right: Results, got: Results):
        self.trial, self.original, self.module = trial, original, module
        self.right, self.got = right, got
        self.changed = {name: self.run(name) for name in trial.changes}
        arrays = [trial.known[name] for name in trial.changes[:2] if name in trial.known]
        batch = len({a.shape[:1] for a in arrays}) == 1  # dy has one part for each image
        self.last = self.run(trial.dy if batch else "", last_changed)
        self.zero = self.run(trial.dy, np.zeros_like)
        images = [name for name, a in trial.known.items() if a.ndim >= 4]
        self.mirrored = {n: self.run(n, mirrored)[1] for n in images if n in trial.changes}

    def run(self, name: str, by: Change = changed) -> tuple[Results, Results]:
        """The right results and those of the solution; if one fails, the unchanged ones."""
        try:
            if name in self.trial.changes:
                return (self.trial.run(self.original, name, by),
                        self.trial.run(self.module, name, by))  # fmt: skip
        except Exception:
            pass
        return self.right, self.got

    def clues(self, result: str, idea: str) -> Iterator[str]:
        """What changes of the arguments show about a wrong result."""
        mine, right, dy = self.got[result], self.right[result], self.trial.dy
        if not np.any(mine) or not np.isfinite(mine).all() or "has not changed" in idea:
            return
        for name, got in self.mirrored.items():
            if name != result and _close(got[result], right):
                yield f"It would be right if {name} were mirrored along its last two axes"
        lost = [name for name, pair in self.changed.items() if self.loses(result, pair)]
        if lost := [name for name in lost if name not in idea and name != result]:
            yield f"It does not depend on {' and '.join(lost[:2])}, but should"
        elif dy not in idea and self.loses(result, self.last):
            yield f"It does not depend on {dy}[-1], but should: are all images used?"
        elif dy not in idea and np.any(self.zero[1][result]) and not np.any(self.zero[0][result]):
            yield f"It is not zero for {dy} = 0: does a term lack the factor {dy}?"

    def loses(self, result: str, changed: tuple[Results, Results]) -> bool:
        """Whether the right result changes, and that of the solution does not."""
        right, got = changed
        return same(self.got[result], got[result]) and not same(self.right[result], right[result])


def _close(a: Any, b: Any) -> bool:
    return np.shape(a) == np.shape(b) and bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def in_the_gallery(
    exercise: Exercise, tried: Sequence[tuple[Trial, Results]], right: Results, got: Results
) -> list[str]:
    """The mistake of the gallery that gives the same wrong results in the last trial, and right
    ones in the trials before it."""
    for fault in GALLERY.values():
        if fault.module != exercise.module:
            continue
        if not any(before in exercise.body for before, _ in fault.changes):
            continue
        text = fault.planted_in(source_of(fault.module))
        text = absolute_imports(text, fault.module.rpartition(".")[0])
        try:
            with module_of(text, Path(f"{fault.name}.py"), MISTAKEN) as module:
                mistaken = tried[-1][0].run(module)
                if not all(same(a, got[name]) for name, a in mistaken.items()):
                    continue
                if all(same(a, right[name]) for name, a in mistaken.items()):
                    continue
                if not all(_close(trial.run(module)[name], a)
                           for trial, results in tried[:-1]
                           for name, a in results.items() if a is not None):  # fmt: skip
                    continue
        except Exception:
            continue
        return [f"It is a mistake of the gallery, `{fault.name}`: {fault.mistake}."]
    return []
