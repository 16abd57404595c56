"""Bugs to find: copies of this program's files, each with a mistake of the gallery."""

from __future__ import annotations

import ast
import difflib
import json
import re
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .course import file_of, source_of
from .gallery import GALLERY, Fault
from .judging import Verdict, parsed

BUGS = [*GALLERY.values()]  # bug 1 is the first
HEAD = re.compile(r"^(?:#|//) Bug (\d+): ", re.MULTILINE)
ROOT = Path(__file__).parents[2]
SOLVING = ROOT / "tests/mutations/solving.py"  # in a clone of the repository
SECONDS = 600  # for the tests of an attempt


def bug(number: int) -> Fault:
    """The fault of this number, from 1. ValueError if there is none."""
    if not 1 <= number <= len(BUGS):
        raise ValueError(f"expected a bug from 1 to {len(BUGS)}, got {number}")
    return BUGS[number - 1]


def location(fault: Fault) -> str:
    """The file in the repository: scratchvae/ops/relu.py."""
    module = fault.module
    if module.endswith(".cu"):
        return module
    path = module.replace(".", "/").replace("scratchvae/kernels", "kernels")
    return f"{path}/__init__.py" if file_of(module).name == "__init__.py" else f"{path}.py"


def file_name(number: int) -> str:
    return f"bug_{number}{Path(location(bug(number))).suffix}"


@cache
def right_text(module: str) -> str:
    """The file as it is. A .cu file has its headers pasted in."""
    if module.endswith(".cu"):
        return str(import_module("scratchvae.kernels.cuda").source(Path(module).stem))
    return source_of(module)


def wrong_text(fault: Fault) -> str:
    return fault.planted_in(right_text(fault.module))


def written(number: int) -> str:
    """The file for the student."""
    fault, name = bug(number), file_name(number)
    lines = (
        f"Bug {number}: this copy of {location(fault)} has a mistake.\n\n"
        f"Find it, correct it here, and run\n\n    scratchvae check {name}\n\n"
        f"Two hints: scratchvae exercise --bug {number} --hint 1, and --hint 2.\n"
        f"The solution: scratchvae exercise --bug {number} --solution"
    ).splitlines()
    mark = "//" if name.endswith(".cu") else "#"
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in lines) + f"\n{wrong_text(fault)}"


def hint(number: int, which: int) -> str:
    """First the test that finds it, then about ten lines among which it is."""
    fault = bug(number)
    if which == 1:
        return f"This test fails: {fault.killed_by}"
    lines = written(number).splitlines()
    wrong, right = (text.splitlines() for text in (wrong_text(fault), right_text(fault.module)))
    same = next(k for k, pair in enumerate(zip(wrong, right, strict=False)) if pair[0] != pair[1])
    first = max(1, len(lines) - len(wrong) + same - 2 - number % 5)
    return f"Look at lines {first} to {min(first + 10, len(lines))} of {file_name(number)}."


def solution(number: int) -> str:
    """The mistake in words, and the lines that correct it."""
    fault = bug(number)
    before, after = (wrong_text(fault).splitlines(), right_text(fault.module).splitlines())
    lines = [line for line in difflib.unified_diff(before, after, n=1, lineterm="")][2:]
    return "\n".join([f"{fault.mistake}.", "", *lines])


def bug_of(text: str) -> int | None:
    """The number in the first lines of a file that `written` made."""
    found = HEAD.match(text.lstrip())
    return int(found[1]) if found else None


def judge_bug(file: Path, text: str, number: int) -> Verdict:
    """The verdict on a corrected file: compared with the original, or, if it is corrected in
    another way, by the tests that find the mistakes of this file.

    Raises
    ------
    ValueError
        If the file is not Python, or there is no such bug.
    RuntimeError
        If tests are needed and this is no clone of the repository, or has no pytest.
    """
    fault = bug(number)
    verdict = Verdict(file, f"bug {number}, in {location(fault)}")
    verdict.praise = f"The bug is fixed. It was: {fault.mistake}."
    found = _meaning(file, text)
    if found == _meaning(file, right_text(fault.module)):
        return verdict
    if found == _meaning(file, wrong_text(fault)):
        verdict.sentences += ["The mistake is still there: the code is as it was written."]
    elif failed := _tested(file, text, fault):
        other = "It is fixed, but something else is broken now."
        verdict.sentences += [
            other if failed["fixed"] else "It is not fixed.",
            f"{failed['test']} fails{': ' * bool(failed['why'])}{failed['why']}",
        ]
    if verdict.sentences:
        verdict.sentences.append(f"For a hint: scratchvae exercise --bug {number} --hint 1")
    return verdict


@cache
def _meaning(file: Path, text: str) -> str:
    """The code without comments and layout."""
    if file.suffix == ".cu":
        without = re.sub(r"//[^\n]*", "", text)
        return "".join(re.sub(r"/\*.*?\*/", "", without, flags=re.DOTALL).split())
    return ast.dump(parsed(file, text))


def _tested(file: Path, text: str, fault: Fault) -> dict[str, Any]:
    """Run the tests with this text in the place of the module: what solving.py prints."""
    if not SOLVING.is_file() or find_spec("pytest") is None:
        raise RuntimeError(
            f"{file} differs from the original, so it is judged by tests: for these you need a "
            'clone of the repository, installed with pip install -e ".[test]"'
        )
    command = [sys.executable, str(SOLVING), fault.name]
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, encoding="utf-8", timeout=SECONDS, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"{file} cannot be judged: the tests did not end within {SECONDS} seconds; is there a "
            "loop that never ends?"
        ) from None
    if done.returncode:
        why = done.stderr.strip().splitlines() or ["the tests ended without a result"]
        raise RuntimeError(f"{file} cannot be judged: {why[-1]}")
    return dict(json.loads(done.stdout))
