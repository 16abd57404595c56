"""docs/*.md are correct: their code prints what they show, and their links have targets."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))
ALL_PAGES = sorted(DOCS.rglob("*.md"))
BLOCK = re.compile(r"^```([\w ]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@every_page
def test_the_code_prints_what_the_page_shows(page, capsys):
    text, namespace = page.read_text(), {}
    pairs = re.findall(
        r"^```python\n(.*?)^```\n```text\n(.*?)^```$", text, re.DOTALL | re.MULTILINE
    )
    assert len(pairs) == text.count("```python\n")
    for code, shown in pairs:
        exec(code, namespace)
        assert capsys.readouterr().out == shown


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_the_links_and_pictures_exist(page):
    links = re.findall(r"\]\(([^)\s]+)", BLOCK.sub("", page.read_text()))
    files = [link.partition("#")[0] for link in links if ":" not in link]
    assert files
    assert [name for name in files if not (page.parent / name).exists()] == []


@every_page
def test_the_maths_survives_markdown(page):
    """Markdown drops a backslash before punctuation, and an _ after punctuation begins emphasis."""
    text = re.sub(r"`[^`\n]*`", "", BLOCK.sub("", page.read_text()))
    formulas = re.findall(r"\$\$.+?\$\$|\$[^$]+\$", text, re.DOTALL)
    assert text.count("$") == sum(formula.count("$") for formula in formulas)
    assert [f for f in formulas if re.search(r"\\[^A-Za-z]|[^A-Za-z]_|[*<>\n]", f)] == []
