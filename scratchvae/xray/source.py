"""The source of the functions that a page shows: their statements, and their text as HTML."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from .. import ops

ROOT = Path(__file__).parents[2]
# (folder, op) -> the file with the loops, where it is not the op's own
BEHIND = {
    ("cpu", "conv2d"): "convolution/direct.py",
    ("cpu", "conv_transpose2d"): "convolution/direct.py",
    ("cuda", "conv2d"): "convolution.cu",
    ("cuda", "conv_transpose2d"): "convolution.cu",
    ("cuda", "batch_norm_leaky_relu"): "batch_norm.cu",
    ("cuda", "kl_free_bits"): "kl.cu",
}


class Statement(NamedTuple):
    """A statement of a function's source. A loop or a condition is its first line alone."""

    first: int  # line in the file
    last: int
    text: str
    reads: tuple[str, ...]  # names of variables
    assigns: tuple[str, ...]
    returns: tuple[str, ...]  # what a return statement returns, as text
    is_loop: bool


@dataclass(frozen=True)
class Function:
    """The source of a recorded function."""

    name: str
    file: Path
    first: int  # line
    defined: int  # the last line of its head, after decorators
    source: str
    statements: list[Statement]
    doc: str


@cache
def function_of(code: CodeType) -> Function:
    """The source of a function, and its statements. There are none if the source is in no file, as
    after `exec`, or has changed since it was imported."""
    file = Path(code.co_filename)
    try:
        lines, first = inspect.getsourcelines(code)
        source = textwrap.dedent("".join(lines))
        indented = source[:1].isspace()  # a comment at the left margin keeps `dedent` from working
        tree: Any = ast.parse(f"if 1:\n{source}" if indented else source).body[0]
        offset = first - 1 - indented
        tree = tree.body[0] if indented else tree
    except (OSError, SyntaxError):
        tree = None
    if not isinstance(tree, ast.FunctionDef) or tree.name != code.co_name:
        missing = f"# The source of {code.co_name} cannot be read.\n"
        return Function(code.co_name, file, code.co_firstlineno, 0, missing, [], "")
    text = ["if 1:", *source.splitlines()] if indented else source.splitlines()
    statements = [*_statements(tree.body, offset, text)]
    defined = offset + tree.body[0].lineno - 1
    doc = ast.get_docstring(tree) or ""
    return Function(code.co_name, file, first, defined, source, statements, doc)


def _statements(body: list[ast.stmt], offset: int, lines: list[str]) -> Iterator[Statement]:
    for node in body:
        inner = [s for s in ast.iter_child_nodes(node) if isinstance(s, ast.stmt)]
        inner += [s for handler in getattr(node, "handlers", []) for s in handler.body]
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        last = inner[0].lineno - 1 if inner else node.end_lineno or node.lineno
        if not docstring:
            heads = [part for part in ast.iter_child_nodes(node) if part not in inner]
            names = [n for part in heads for n in ast.walk(part)]
            reads = {n.id: None for n in names if isinstance(n, ast.Name) and _is_read(n, node)}
            returned = node.value if isinstance(node, ast.Return) else None
            parts = returned.elts if isinstance(returned, ast.Tuple) else [returned]
            yield Statement(
                node.lineno + offset, max(last, node.lineno) + offset,
                "\n".join(lines[node.lineno - 1 : max(last, node.lineno)]),
                tuple(reads), tuple(dict.fromkeys(_assigned(node))),
                tuple(ast.unparse(part) for part in parts if part is not None),
                isinstance(node, ast.For | ast.While),
            )  # fmt: skip
        yield from _statements(inner, offset, lines)


def _is_read(name: ast.Name, statement: ast.stmt) -> bool:
    return isinstance(name.ctx, ast.Load) or isinstance(statement, ast.AugAssign)


def _assigned(node: ast.stmt) -> Iterator[str]:
    """The variables that a statement assigns, or changes as in `dx[i] += dy`."""
    targets: list[Any] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.With):
        targets = [item.optional_vars for item in node.items]
    elif isinstance(node, ast.AugAssign | ast.AnnAssign | ast.For):
        targets = [node.target]
    for target in targets:
        yield from _names(target)


def _names(target: Any) -> Iterator[str]:
    if isinstance(target, ast.Tuple | ast.List):
        for part in target.elts:
            yield from _names(part)
    elif isinstance(target, ast.Subscript | ast.Starred):
        yield from _names(target.value)
    elif isinstance(target, ast.Name):
        yield target.id


def relative(file: Path) -> str:
    """A file's name within this repository; of a user's own file only the last part."""
    inside = file.is_relative_to(ROOT)
    return str(file.relative_to(ROOT)) if inside else file.name


@cache
def highlighted(source: str, language: str = "python") -> list[str]:
    """The lines of a source text as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    lexer = get_lexer_by_name(language, stripnl=False)
    return highlight(source, lexer, HtmlFormatter(nowrap=True)).splitlines()


class View(NamedTuple):
    """A file, or a function of it."""

    title: str
    file: str
    first: int  # line
    lines: list[str]  # as HTML


def sources(op: str) -> list[View]:
    """The other views of an op: its naive loops, its Numba kernel, its CUDA kernel."""
    found = []
    if naive := getattr(ops, f"{op}_naive", None):
        text, first = inspect.getsourcelines(naive)
        file = relative(Path(inspect.getfile(naive)))
        found.append(View("naive loops", file, first, highlighted("".join(text))))
    for title, folder, ending in (("Numba kernel", "cpu", ".py"), ("CUDA kernel", "cuda", ".cu")):
        try:
            spec = importlib.util.find_spec(f"scratchvae.kernels.{folder}.{op}")
        except ImportError:  # without Numba
            continue
        if not spec or not spec.origin:
            continue
        own = Path(spec.origin)
        behind = own.parent / BEHIND.get((folder, op), own.with_suffix(ending).name)
        for path in dict.fromkeys([own, behind] if folder == "cpu" else [behind, own]):
            if path.exists():
                language = "cuda" if path.suffix == ".cu" else "python"
                lines = highlighted(path.read_text(encoding="utf-8"), language)
                found.append(View(f"{title}: {path.name}", relative(path), 1, lines))
    return found
