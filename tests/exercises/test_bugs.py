"""Bugs to find: every fault of the gallery can be found and corrected."""

import re
from pathlib import Path

import pytest

from scratchvae.__main__ import main
from scratchvae.exercises import bugs
from scratchvae.exercises.gallery import GALLERY

ROOT = Path(__file__).resolve().parents[2]
NUMBERS = range(1, len(GALLERY) + 1)


@pytest.mark.parametrize("number", NUMBERS, ids=[*GALLERY])
def test_a_bug(number):
    """The file as written is not right, the original is; hints and solution lead to the mistake."""
    file, text, fault = Path(bugs.file_name(number)), bugs.written(number), bugs.bug(number)
    right = bugs.right_text(fault.module)
    assert (ROOT / bugs.location(fault)).is_file()
    assert bugs.bug_of(text) == number and bugs.bug_of(right) is None
    assert fault.mistake not in text and fault.name not in text
    verdict = bugs.judge_bug(file, text, number)
    assert not verdict.passed and "still there" in str(verdict)
    head = text[: len(text) - len(bugs.wrong_text(fault))]
    assert bugs.judge_bug(file, head + right, number).passed
    first, last = map(int, re.findall(r"\d+", bugs.hint(number, 2))[:2])
    mistaken = (head + right).splitlines()
    different = [k for k, line in enumerate(text.splitlines(), 1) if line not in mistaken]
    assert last - first <= 10 and (not different or first <= different[0] <= last)
    assert bugs.hint(number, 1).endswith(fault.killed_by)
    assert fault.mistake in bugs.solution(number)


@pytest.mark.parametrize("number", [0, len(GALLERY) + 1])
def test_other_numbers(number):
    with pytest.raises(ValueError, match=f"from 1 to {len(GALLERY)}, got {number}"):
        bugs.bug(number)


def corrected(name):
    """A file with the bug corrected in another way than the original: a statement more."""
    number = 1 + [*GALLERY].index(name)
    text = bugs.right_text(GALLERY[name].module)
    if name.startswith("cuda"):
        return number, text.replace("{", "{ ;", 1)
    return number, re.sub(r"\n( +)return ", r"\n\1other = 0\n\1return ", text, count=1)


ANY_ROOM = ["batch-norm-dx-17-fold", "clip-scales-up", "sum-of-rows-of-the-last-chunk"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ANY_ROOM)
def test_another_correction_is_judged_by_tests(name):
    number, text = corrected(name)
    file = Path(bugs.file_name(number))
    assert bugs.judge_bug(file, text, number).passed
    for before, after in GALLERY[name].changes:
        text = text.replace(before, after)
    verdict = bugs.judge_bug(file, text, number)
    assert not verdict.passed
    assert verdict.sentences[0] == "It is not fixed."
    assert verdict.sentences[1].startswith(GALLERY[name].killed_by.partition("[")[0])


@pytest.mark.slow
def test_a_correction_that_breaks_something_else_or_cannot_be_judged():
    number, text = corrected("clip-scales-up")
    file = Path("bug.py")
    verdict = bugs.judge_bug(file, text.replace("self.steps += 1", "self.steps = 1"), number)
    assert verdict.sentences[0] == "It is fixed, but something else is broken now."
    with pytest.raises(RuntimeError, match="make no change outside of functions"):
        bugs.judge_bug(file, f"{text}\nOTHER = 1\n", number)


def test_without_the_tests_of_the_repository(monkeypatch, tmp_path):
    monkeypatch.setattr(bugs, "SOLVING", tmp_path / "nothing.py")
    number, text = corrected(ANY_ROOM[0])
    with pytest.raises(RuntimeError, match="you need a clone of the repository"):
        bugs.judge_bug(Path("bug.py"), text, number)


@pytest.mark.parametrize(
    ("code", "said"), [("x = = 1", "bug_1.py, line 2: "), ("x = '\0'", "bug_1.py: .*null bytes")]
)
def test_what_is_no_python(code, said):
    with pytest.raises(ValueError, match=said):
        bugs.judge_bug(Path("bug_1.py"), f"# Bug 1: \n{code}\n", 1)


def test_a_file_that_an_editor_has_marked_as_utf_8(tmp_path, capsys):
    file = tmp_path / "bug_1.py"
    file.write_text(bugs.written(1), encoding="utf-8-sig")
    assert main(["check", str(file)]) == 1
    assert "The mistake is still there" in capsys.readouterr().out


def test_a_loop_that_never_ends(monkeypatch):
    monkeypatch.setattr(bugs, "SECONDS", 0.01)
    number, text = corrected(ANY_ROOM[0])
    with pytest.raises(RuntimeError, match="did not end within 0.01 seconds"):
        bugs.judge_bug(Path("bug.py"), text, number)
