"""The course: functions of this package to write again, in order of difficulty.

course.txt describes an exercise a paragraph:

    NAME: MODULE, FUNCTION
    what it is about
    first hint
    second hint

An exercise is a Python file: the source of the module without the body of the function. Of an
update in optim.py it has only the imports and the function.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

COURSE_FILE = Path(__file__).with_name("course.txt")
# What stays of the body: what forward has saved, and the gradients that come in.
KEPT = r"\s+(.+ = cache|.+ = self\.loss_backward\(\))$"
ARRAYS = (
    "# array_module(a) is the library of the array a, here NumPy. To write np, import numpy.\n#\n"
)


class Parts(NamedTuple):
    """The lines of a module: the function to write, and what is around it."""

    before: list[str]
    head: list[str]  # decorators, signature, docstring
    body: list[str]
    after: list[str]


@dataclass
class Exercise:
    """A function to write."""

    number: int
    name: str
    module: str
    function: str  # or CLASS.METHOD
    about: str
    hints: tuple[str, str]

    @cached_property
    def parts(self) -> Parts:
        """The original, with absolute imports."""
        source = absolute_imports(source_of(self.module), self.module.rpartition(".")[0])
        node: Any = ast.parse(source)
        for name in self.function.split("."):
            node = next(n for n in node.body if getattr(n, "name", "") == name)
        lines, first = source.splitlines(keepends=True), node.lineno - 1
        for decorator in node.decorator_list:
            first = min(first, decorator.lineno - 1)
        start, end = node.body[1].lineno - 1, node.end_lineno  # body[0] is the docstring
        return Parts(lines[:first], lines[first:start], lines[start:end], lines[end:])

    @property
    def solution(self) -> str:
        """The function as it is in the package."""
        return "".join(self.parts.head + self.parts.body)

    @property
    def body(self) -> str:
        """The body of the solution."""
        return "".join(self.parts.body)

    @property
    def file_name(self) -> str:
        return f"{self.name}_exercise.py"

    @property
    def text(self) -> str:
        """The file for the student."""
        kept = self.parts.body[:1] if re.match(KEPT, self.parts.body[0].rstrip()) else []
        indent = " " * (8 if "." in self.function else 4)
        todo = f'{indent}raise NotImplementedError("write the body of {self.function} here")\n'
        return self.written("".join([*kept, todo]))

    def written(self, body: str) -> str:
        """The file with this body of the function, indented as it is there."""
        before, head, _, after = self.parts
        if self.module == "scratchvae.optim":
            before, after = [*self.imports(), "\n\n"], []
        return "".join([self.introduction, *before, *head, body, *after])

    def imports(self) -> list[str]:
        """What an update needs."""
        math = ["import math\n", "\n"] if "math." in self.solution else []
        more = ", array_module" if "array_module(" in self.solution else ""
        return [*math, f"from scratchvae.backend import accelerated{more}\n"]

    @property
    def introduction(self) -> str:
        name = self.name
        return (
            f"# Exercise {self.number}: {self.function}\n#\n# {self.about}\n#\n"
            f"# Write the body of {self.function}, below, and run\n#\n"
            f"#     scratchvae check {self.file_name}\n#\n"
            f"{'' if '.' in self.function else ARRAYS}"
            f"# Two hints: scratchvae exercise {name} --hint 1, and --hint 2.\n"
            f"# The solution: scratchvae exercise {name} --solution\n\n"
        )


def file_of(module: str) -> Path:
    """The file of a module, which need not be imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin)


def source_of(module: str) -> str:
    return file_of(module).read_text(encoding="utf-8")


def absolute_imports(source: str, package: str) -> str:
    """The text with `from scratchvae.x import y` for `from ..x import y`: it runs anywhere."""

    def absolute(match: re.Match[str]) -> str:
        levels = package.split(".")
        base = levels[: len(levels) + 1 - len(match[2])]
        return f"{match[1]}from {'.'.join([*base, *[match[3]] * bool(match[3])])} import"

    return re.sub(r"^([ \t]*)from (\.+)([\w.]*) import", absolute, source, flags=re.MULTILINE)


def _read(text: str) -> dict[str, Exercise]:
    found = {}
    for number, paragraph in enumerate(text.strip().split("\n\n"), 1):
        head, about, *hints = paragraph.splitlines()
        name, module, function = re.fullmatch(r"(\S+): (\S+), (\S+)", head).groups()  # type: ignore[union-attr]
        found[name] = Exercise(number, name, module, function, about, (hints[0], hints[1]))
    return found


COURSE: dict[str, Exercise] = _read(COURSE_FILE.read_text(encoding="utf-8"))
