"""Docstrings of this project are plain text: indented formulas and code, and the characters * and |
without a meaning of their own. Here they become what reStructuredText shows in the same way."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

CODE = re.compile(r"(``.+?``|`[^`]+`)")
# Not at the beginning of a line, where numpydoc takes care of *inputs and **options.
MARKUP = re.compile(r"(?<=.)[*|]|(?<=\w)_(?!\w)")

PUNCTUATION = re.compile(r"[\\*_<>\[\]$|]")  # that may mean something in Markdown
FENCE = "```"


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring with `::` before each indented block, and with escapes elsewhere."""
    ends = (k - 1 for k, line in enumerate(lines) if line and set(line) == {"-"})
    end = next(ends, len(lines))  # of the prose: where numpydoc's first section begins
    return [*_prose(lines[:end]), *map(escaped, lines[end:])]


def _prose(lines: list[str]) -> Iterator[str]:
    literal, last = False, ""  # whether the block is preformatted; the last line with text
    for k, line in enumerate(lines):
        if not line.strip():
            yield line
            continue
        begins = k > 0 and not lines[k - 1].strip()
        if not line.startswith("  "):
            literal = False
        elif begins and not literal:
            literal = True
            if not last.endswith("::"):
                yield from ("::", "")
        last = line
        yield line if literal else escaped(line)


def escaped(line: str) -> str:
    """A line in which *, | and a final _ stand for themselves, outside `code`."""
    parts = CODE.split(line)
    return "".join(p if k % 2 else MARKUP.sub(r"\\\g<0>", p) for k, p in enumerate(parts))


def as_markdown(text: str) -> str:
    """A docstring without sections as Markdown."""
    blocks: list[str] = []
    for block in re.split(r"\n\n|\n(?=Derivation: |Sources?: )", text.strip("\n")):
        if not block.startswith(" "):
            parts = CODE.split(block)
            blocks.append(
                "".join(p if k % 2 else PUNCTUATION.sub(r"\\\g<0>", p) for k, p in enumerate(parts))
            )
        elif blocks and blocks[-1].endswith(FENCE):  # the same formulas after an empty line
            blocks[-1] = f"{blocks[-1].removesuffix(FENCE)}\n{textwrap.dedent(block)}\n{FENCE}"
        else:
            blocks.append(f"{FENCE}text\n{textwrap.dedent(block)}\n{FENCE}")
    return "\n\n".join(blocks)


def process(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if lines and lines[0].startswith("Alias for field number"):  # of a NamedTuple
        lines.clear()
    lines[:] = as_rst(lines)


def signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, arguments: str | None, result: Any
) -> tuple[str, None] | None:
    """The arguments of a model are those of its __init__, which `Model.__new__` passes on."""
    if what != "class" or arguments != "(*args: ~typing.Any, **options: ~typing.Any)":
        return None
    _, *parameters = inspect.signature(obj.__init__).parameters.values()
    return str(inspect.Signature(parameters)), None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", process, priority=400)  # before numpydoc
    app.connect("autodoc-process-signature", signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
