"""docs/backward.md: every derivation ends at its lines of code, and every op has one.

The page quotes code in blocks of this form. The lines below a file and a function stand in that
function, in this order, and the section links to the file:

    ```py
    # scratchvae/ops/linear.py: linear_backward
    dw = dy.T @ x  # (O, I)
    ```
"""

import ast
import re
from pathlib import Path

import pytest

from scratchvae.ops import OPS

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/backward.md").read_text(encoding="utf-8")
SECTIONS = [f"## {text}" for text in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]]
BLOCK = re.compile(r"^```py\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SOURCE = re.compile(r"^# (\S+\.py): (\S+)\n", re.MULTILINE)

every_section = pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.split("\n")[0])


def quotes(text):
    """(path, function, lines) for each function that the blocks of `text` quote."""
    found = []
    for block in BLOCK.findall(text):
        before, *parts = SOURCE.split(block)
        assert not before, f"a py block must begin with '# FILE: FUNCTION', got {before!r}"
        for path, name, code in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
            lines = [line.strip() for line in code.splitlines() if line]
            assert lines, f"no line below '# {path}: {name}'"
            found.append((path, name, lines))
    return found


def body(path, name):
    """The lines below the `def` of a function or a Class.method, without their indentation."""
    text = (ROOT / path).read_text(encoding="utf-8")
    node = ast.parse(text)
    for part in name.split("."):
        node = {getattr(child, "name", None): child for child in node.body}.get(part)
        assert node, f"{path} defines no {name}"
    return [line.strip() for line in text.splitlines()[node.lineno : node.end_lineno]]


@every_section
def test_the_quoted_lines_stand_in_their_functions(section):
    for path, name, lines in quotes(section):
        rest = iter(body(path, name))
        missing = [line for line in lines if line not in rest]  # `in` goes on where it found one
        assert not missing, f"{path}: {name} does not have these lines, in this order: {missing}"
        assert f"](../{path})" in section, f"the section does not link to {path}"


@every_section
def test_the_last_formula_is_followed_by_code(section):
    _, formula, rest = section.rpartition("$$")
    assert not formula or quotes(rest), "no code is quoted after the last formula"


def test_every_backward_is_quoted():
    quoted = {(path, name) for path, name, _ in quotes(PAGE)}
    missing = [op for op in OPS if (f"scratchvae/ops/{op}.py", f"{op}_backward") not in quoted]
    assert not missing, f"docs/backward.md quotes no line of the backward of {', '.join(missing)}"
