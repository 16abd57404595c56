"""README, docs, docstrings and comments avoid words that plain English rarely needs."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".md", ".py", ".cu", ".cuh", ".h", ".cpp"}
# Each stands for a kind of sentence that a reader must read twice: say what happens instead.
AVOIDED = re.compile(
    r"\b(nobody|somebody|everybody|anybody|whoever|who has|so looks|for the eye|read aloud)\b", re.I
)
ALLOWED = {
    "tests/faults/storage.py",  # the user called nobody
    "tests/fuzz/fuzz_arguments.py",  # ~nobody
    "tests/test_words.py",
}


@pytest.fixture(scope="module")
def files():
    """The files under version control; all files with these suffixes in an unpacked archive."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    below = [str(path.relative_to(ROOT)) for path in ROOT.rglob("[!.]*.*")]
    names = done.stdout.splitlines() or [name for name in below if not name.startswith(".")]
    return [name for name in names if Path(name).suffix in SUFFIXES and (ROOT / name).is_file()]


def test_sentences_say_who_does_what(files):
    found = {
        f"{name}:{number}: {line.strip()}"
        for name in files
        if name not in ALLOWED
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
        if AVOIDED.search(line)
    }
    assert found == set(), "rewrite these sentences: subject, verb, object"


def test_the_words_are_found():
    assert AVOIDED.search("Nobody knows") and AVOIDED.search("so looks a collapse")
    assert not AVOIDED.search("the body of the op")
