"""What else a wrong solution shows: on what it does not depend, and which known mistake it is."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from ..backend import REGISTRY
from .course import Exercise, absolute_imports, source_of
from .gallery import GALLERY
from .trials import Results, Trial, mirrored

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
    """Whether two results are equal; None equals None."""
    if a is None or b is None:
        return a is b
    return np.shape(a) == np.shape(b) and bool(np.array_equal(a, b, equal_nan=True))


class Probe:
    """The solution and the original with one argument changed at a time."""

    def __init__(self, trial: Trial, original: Any, module: Any, right: Results, got: Results):
        self.right, self.got = right, got
        self.changed: dict[str, tuple[Results, Results]] = {}
        self.mirrored: dict[str, tuple[Results, Results]] = {}
        with np.errstate(all="ignore"):
            for name in trial.changes:
                with suppress(Exception):
                    self.changed[name] = (trial.run(original, name), trial.run(module, name))
                if np.ndim(trial.known.get(name)) >= 4:
                    with suppress(Exception):
                        self.mirrored[name] = (right, trial.run(module, name, mirrored))

    def clue(self, result: str, idea: str) -> str:
        """On which argument the result does not depend, but should; or the reverse."""
        mine, original = self.got[result], self.right[result]
        if not np.any(mine):
            return ""
        for name, (right, got) in self.mirrored.items():
            if name != result and _close(got[result], right[result]):
                return f"it would be right if {name} were mirrored along its last two axes"
        lost = [name for name, (right, got) in self.changed.items()
                if same(mine, got[result]) and not same(original, right[result])]  # fmt: skip
        if lost := [name for name in lost if name not in idea and name != result]:
            return f"it does not depend on {' and '.join(lost[:2])}, but should"
        extra = [name for name, (right, got) in self.changed.items()
                 if not same(mine, got[result]) and same(original, right[result])]  # fmt: skip
        if extra and not idea:
            return f"it depends on {extra[0]}, but should not"
        return ""


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
        text = source_of(fault.module)
        for before, after in fault.changes:
            text = text.replace(before, after)
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
