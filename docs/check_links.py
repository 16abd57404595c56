"""Check the links of the built site: each page, picture and #anchor that a page names must exist.

    python docs/check_links.py site

Links to other sites are not followed. Prints the dead links; the exit status is 1 if there are any.
"""

from __future__ import annotations

import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

VIEWS = ("map", "proof", "help")  # of an X-ray page; others are section-NAME


class Page(HTMLParser):
    """The anchors of a page, and what it links to."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and name == "id":
                self.anchors.add(value)
            if value and (name in ("href", "src") and tag != "base"):
                self.links.append(value)


parsed = cache(Page)


def dead_links(site: Path) -> list[str]:
    """A line for each link that leads nowhere."""
    dead = []
    for file in sorted(site.rglob("*.html")):
        if file.is_relative_to(site / "xray"):  # its own tests look after its links
            continue
        for link in dict.fromkeys(parsed(file).links):
            address = urlsplit(link)
            if address.scheme or address.netloc:
                continue
            target = (file.parent / unquote(address.path)).resolve() if address.path else file
            if problem := _problem(target, unquote(address.fragment), site):
                dead.append(f"{file.relative_to(site)}: {link}: {problem}")
    return dead


def _problem(target: Path, fragment: str, site: Path) -> str:
    if not target.is_file():
        return "no such file"
    if not fragment or target.suffix != ".html":
        return ""
    if target.parent == site.resolve() / "xray":
        name = fragment.partition("/")[0]
        fragment = name if name in VIEWS else f"section-{name}"
    return "" if fragment in parsed(target).anchors else "no such anchor"


def main() -> int:
    site = Path(sys.argv[1])
    pages = len([*site.rglob("*.html")])
    if not pages:
        raise SystemExit(f"check_links.py: expected the folder of a built site, got {site}")
    dead = dead_links(site)
    print(*dead, f"{pages} pages, {len(dead)} dead links", sep="\n")
    return 1 if dead else 0


if __name__ == "__main__":
    sys.exit(main())
