"""docs/exercises.md is a course of all exercises, in their order."""

import re
from pathlib import Path

from scratchvae.exercises.bugs import BUGS
from scratchvae.exercises.course import COURSE

PAGE = (Path(__file__).resolve().parents[2] / "docs/exercises.md").read_text(encoding="utf-8")


def test_the_page_lists_every_exercise_in_order():
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [(str(e.number), e.name) for e in COURSE.values()]
    assert f"{len(COURSE)} functions" in PAGE and f"{len(BUGS)} bugs" in PAGE
