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
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

COURSE_FILE = Path(__file__).with_name("course.txt")
# What stays of the body: what forward has saved, and the gradients that come in.
KEPT = r"\s+(.+ = cache|.+ = self\.loss_backward\(\))$"


class Text(NamedTuple):
    """The source of a module, with the function to write."""

    source: str
    first: int  # line of the function, from 1, decorators included
    body: int  # the first line after its docstring
    last: int


class Exercise:
    """A function to write."""

    def __init__(self, number: int, name: str, module: str, function: str, about: str,
                 hints: tuple[str, str]) -> None:  # fmt: skip
        self.number, self.name, self.module, self.function = number, name, module, function
        self.about, self.hints = about, hints

    @cached_property
    def original(self) -> Text:
        """The file that has the function, with absolute imports."""
        source = absolute_imports(source_of(self.module), self.module.rpartition(".")[0])
        tree: ast.AST = ast.parse(source)
        for name in self.function.split("."):
            tree = next(n for n in ast.iter_child_nodes(tree) if getattr(n, "name", "") == name)
        assert isinstance(tree, ast.FunctionDef)
        first = min([tree.lineno, *(d.lineno for d in tree.decorator_list)])
        return Text(source, first, tree.body[1].lineno, tree.end_lineno or tree.lineno)

    @property
    def solution(self) -> str:
        """The function as it is in the package."""
        lines = self.original.source.splitlines(keepends=True)
        return "".join(lines[self.original.first - 1 : self.original.last])

    @property
    def body(self) -> str:
        """The solution without its head and its docstring."""
        return "".join(
            self.original.source.splitlines(keepends=True)[
                self.original.body - 1 : self.original.last
            ]
        )

    @property
    def file_name(self) -> str:
        return f"{self.name}_exercise.py"

    @property
    def text(self) -> str:
        """The file for the student."""
        return self.written(None)

    def written(self, body: str | None) -> str:
        """The exercise with this body of the function, indented; None: without one."""
        source, first, start, last = self.original
        lines = source.splitlines(keepends=True)
        old = lines[start - 1 : last]
        indent = re.match(r"\s*", old[0])[0]  # type: ignore[index]
        kept = old[:1] if re.match(KEPT, old[0].rstrip()) else []
        todo = f'{indent}raise NotImplementedError("write the body of {self.function} here")\n'
        before, after = lines[: start - 1], lines[last:]
        if self.module == "scratchvae.optim":
            before, after = [*self.imports(), "\n\n", *lines[first - 1 : start - 1]], []
        new = [*kept, todo] if body is None else [body]
        return self.introduction + "".join([*before, *new, *after])

    def imports(self) -> list[str]:
        """What an update needs."""
        used = ["array_module"] * ("array_module(" in self.solution)
        math = ["import math\n", "\n"] * ("math." in self.solution)
        return [*math, f"from scratchvae.backend import {', '.join(['accelerated', *used])}\n"]

    @property
    def introduction(self) -> str:
        name = self.name
        return (
            f"# Exercise {self.number}: {self.function}\n#\n# {self.about}\n#\n"
            f"# Write the body of {self.function}, below, and run\n#\n"
            f"#     scratchvae check {self.file_name}\n#\n"
            f"# Two hints: scratchvae exercise {name} --hint 1, and --hint 2.\n"
            f"# The solution: scratchvae exercise {name} --solution\n\n"
        )


def source_of(module: str) -> str:
    """The text of a module, which need not be imported."""
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None, module
    return Path(spec.origin).read_text(encoding="utf-8")


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
