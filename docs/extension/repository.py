"""Links from pages to files of the repository: on GitHub they open the file, on the site a page.

A link such as `../scratchvae/ops/conv2d.py` becomes `repo:scratchvae/ops/conv2d.py` when a page is
read. When it is written, this becomes the address of the page that shows the file (see `page_of`):
the page of an op or an example, a Markdown page outside docs/, or else the highlighted source. A
file that is only named, as in `scratchvae/train.py`, becomes a link as well. A fragment such as
`#L-12` is a line of the source.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import TextLexer, get_lexer_for_filename
from pygments.util import ClassNotFound

from scratchvae.ops import OPS

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MARKDOWN = (  # outside docs/
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "benchmarks/results/gpu_step.md",
    "tests/on_host/README.md",
)
LINK = re.compile(r"(\]\()([^)\s:#]+)(#[^)\s]*)?(?=[\s)])")
CODE = re.compile(r"(^ *```.*?^ *```$|`[^`\n]*`)", re.MULTILINE | re.DOTALL)
NAMED = re.compile(
    r"(?:scratchvae|kernels|examples|benchmarks|tests|docs)/[\w./-]+\.(?!png|svg)\w+"
)
shown: set[str] = set()  # files with a source page


def rewritten(text: str, page: str) -> str:
    """A Markdown text with links that hold on every page of the site.

    Parameters
    ----------
    text : str
    page : str
        The file that the links are relative to, such as "docs/backward.md".
    """

    def absolute(link: re.Match[str]) -> str:
        start, target, fragment = link[1], link[2], link[3] or ""
        file = ((ROOT / page).parent / target).resolve()
        if not file.exists() or not file.is_relative_to(ROOT):
            return link[0]
        if file.is_relative_to(DOCS) and file.suffix in (".md", ".myst", ".png", ".svg"):
            return f"{start}/{file.relative_to(DOCS)}{fragment}"
        return f"{start}repo:{file.relative_to(ROOT)}{fragment}"

    parts = CODE.split(text)  # text and code in turn; a link's text may contain code
    if len(parts) == 1:
        return LINK.sub(absolute, text)
    return "".join(part if k % 2 else LINK.sub(absolute, part) for k, part in enumerate(parts))


def page_of(path: str) -> str:
    """The page that shows a file or folder: "ops/conv2d" for "scratchvae/ops/conv2d.py"."""
    folder, _, name = path.rpartition("/")
    stem = name.removesuffix(".py")
    if path in MARKDOWN:
        return f"repository/{path.removesuffix('.md')}"
    if path in ("scratchvae/ops", "examples"):
        return {"scratchvae/ops": "ops/index", "examples": "auto_examples/index"}[path]
    if folder == "scratchvae/ops" and stem in OPS:
        return f"ops/{stem}"
    if folder == "examples":
        return f"auto_examples/{stem}"
    return f"source/{path}"


def copy_markdown(app: Sphinx) -> None:
    for path in MARKDOWN:
        write(
            DOCS / f"repository/{path.removesuffix('.md')}.myst", (ROOT / path).read_text("utf-8")
        )


def write(file: Path, text: str) -> None:
    """Write a page, unless it is the same: Sphinx reads changed pages again."""
    if not file.exists() or file.read_text("utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    if docname.startswith("repository/"):
        source[0] = rewritten(source[0], f"{docname.removeprefix('repository/')}.md")
    else:
        source[0] = rewritten(source[0], f"docs/{docname}.md")


def resolve(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    from docutils import nodes
    from sphinx.util import logging

    for literal in [*doctree.findall(nodes.literal)]:
        path = literal.astext()
        file = NAMED.fullmatch(path) and (ROOT / path).is_file() and page_of(path) != docname
        if file and not isinstance(literal.parent, nodes.reference):
            link = nodes.reference("", "", refuri=f"repo:{path}")
            literal.replace_self(link)
            link += literal
    for link in doctree.findall(nodes.reference):
        scheme, _, target = link.get("refuri", "").partition(":")
        if scheme == "site":  # a file that is no page of Sphinx's
            link["refuri"] = "../" * docname.count("/") + target
        if scheme == "repo":
            path, _, fragment = target.partition("#")
            page = f"source/{path}" if fragment.startswith("L-") else page_of(path)
            if page.startswith("source/"):
                if not (ROOT / path).is_file():
                    logging.getLogger(__name__).warning("no page for %s", path, location=link)
                    continue
                shown.add(path)
            address = app.builder.get_relative_uri(docname, page)
            link["refuri"] = f"{address}#{fragment}" if fragment else address


def source_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The pages of the files that other pages link to."""
    formatter = HtmlFormatter(linespans="L", wrapcode=True)
    for path in sorted(shown):
        try:
            lexer = get_lexer_for_filename(path)
        except ClassNotFound:
            lexer = TextLexer()
        code = highlight((ROOT / path).read_text("utf-8"), lexer, formatter)
        also = ""
        if not (page := page_of(path)).startswith("source/"):
            address = app.builder.get_relative_uri(f"source/{path}", page)
            also = f'<p>This file has <a href="{address}">a page of its own</a>.</p>'
        body = f'<h1><code class="path">{path}</code></h1>{also}<div class="source">{code}</div>'
        yield f"source/{path}", {"title": path, "body": body}, "page.html"


def body_of(function: Any) -> Any:
    """The function as it stands in its file, below `@accelerated`."""
    return inspect.unwrap(getattr(function, "reference", function))


def linkcode_resolve(domain: str, info: dict[str, str]) -> str | None:
    """Where a function or class of the API is defined: its line in the source."""
    found: Any = sys.modules.get(info["module"])
    for name in info["fullname"].split("."):
        found = getattr(found, name, None)
    try:
        found = body_of(found)
        file = Path(inspect.getsourcefile(found) or "")
        return f"repo:{file.relative_to(ROOT)}#L-{inspect.getsourcelines(found)[1]}"
    except (TypeError, OSError, ValueError):  # a constant
        return None


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", copy_markdown)
    app.connect("source-read", read)
    app.connect("doctree-resolved", resolve)
    app.connect("html-collect-pages", source_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
