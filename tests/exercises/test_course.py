"""Every exercise: its solution passes, its unwritten form does not, and no wrong solution passes.

wrong.txt has a wrong solution a paragraph:

    EXERCISE: what is wrong
    > words of the message | more words
    -a part of the right file
    +what a student wrote for it

Without a line that begins with -, the lines with + are the whole body. \\n is a new line.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from scratchvae.exercises.course import COURSE
from scratchvae.exercises.judging import judge

PARAGRAPH = re.compile(r"(\S+): (.+)\n> (.+)\n((?:[-+].*\n)+)")
CHANGE = re.compile(r"((?:^-.*\n)+)((?:^\+.*\n)+)", re.MULTILINE)
FACT = re.compile(r"([\w.]+) is wrong: (.+) is (\S+), and should be (\S+)\.$", re.MULTILINE)
SLOW = ("skip",)  # some seconds for each solution


class WrongSolution(NamedTuple):
    exercise: str
    what: str
    words: list[str]
    text: str


def code(lines):
    """The lines without their signs."""
    return "\n".join(line[1:] for line in lines.splitlines()).replace("\\n", "\n")


def wrong_solutions():
    text = Path(__file__).with_name("wrong.txt").read_text(encoding="utf-8")
    for paragraph in text.strip().split("\n\n")[1:]:
        name, what, words, lines = PARAGRAPH.fullmatch(f"{paragraph}\n").groups()
        exercise = COURSE[name]
        body, later = exercise.body, []
        if lines.startswith("+"):
            body = f"{code(lines)}\n"
        for before, after in ((code(b), code(a)) for b, a in CHANGE.findall(lines)):
            if before in body:
                body = body.replace(before, after)
            else:
                later.append((before, after))
        text = exercise.written(body)
        for before, after in later:  # outside of the function
            assert before in text, f"{name}: {what}: {before}"
            text = text.replace(before, after)
        yield WrongSolution(name, what, words.split(" | "), text)


WRONG = [*wrong_solutions()]


def marked(name, value, id):
    return pytest.param(value, id=id, marks=[pytest.mark.slow] * (name in SLOW))


EXERCISES = [marked(name, exercise, name) for name, exercise in COURSE.items()]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_solution_passes(exercise):
    verdict = judge(Path(exercise.file_name), exercise.written(exercise.body))
    assert verdict.passed, verdict
    assert f"{exercise.function} is right" in str(verdict)


@pytest.mark.parametrize("exercise", EXERCISES)
def test_what_is_not_written_yet_fails(exercise):
    verdict = judge(Path(exercise.file_name), exercise.text)
    assert f"{exercise.function} is not written yet" in verdict.sentences[0]
    assert f"scratchvae exercise {exercise.name} --hint 1" in verdict.sentences[1]


@pytest.mark.parametrize(
    "wrong", [marked(w.exercise, w, f"{w.exercise}-{w.what.replace(' ', '-')}") for w in WRONG]
)
def test_a_wrong_solution_fails_with_words_that_help(wrong):
    verdict = judge(Path("solution.py"), wrong.text)
    assert not verdict.passed
    message = "\n".join(verdict.sentences)
    for words in wrong.words:
        assert words in message
    for name, at, found, right in FACT.findall(message):
        assert re.fullmatch(rf"{re.escape(name)}(\[[\d, ]+\])?", at)
        assert found != right
    lines = message.splitlines()
    assert len(lines) <= 13, message
    assert max(map(len, lines)) < 220, message


def test_each_exercise_has_at_least_five_wrong_solutions():
    counts = Counter(wrong.exercise for wrong in WRONG)
    assert {name for name in COURSE if counts[name] < 5} == set()
