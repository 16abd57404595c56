"""Every fault of the gallery is found by the test it names: `python tests/mutations` prints how.

The faults are planted in other processes, one per core, so that none can remain in this one.
"""

import json
import os
import subprocess
import sys
from collections import ChainMap
from concurrent.futures import ThreadPoolExecutor
from itertools import filterfalse
from pathlib import Path

import pytest
from examining import markdown
from on_host import build

from scratchvae.exercises.gallery import GALLERY, ROOMS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def in_other_processes(names, *command):
    """What `python COMMAND NAME ...` prints for all names; 25 of them share a process."""

    def answer(group):
        run = subprocess.run(
            [sys.executable, *map(str, command), *group],
            capture_output=True,
            text=True,
            env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # the arrays are small
        )
        assert run.returncode in (0, 1) and run.stdout, run.stderr
        return json.loads(run.stdout)

    groups = [names[k : k + 25] for k in range(0, len(names), 25)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(ChainMap(*pool.map(answer, groups)))


@pytest.fixture(scope="session")
def results(request):
    """Name -> record, for the faults that this session has selected."""
    asked = [item for item in request.session.items if "results" in item.fixturenames]
    names = [item.callspec.params["name"] for item in asked]
    return in_other_processes([*filterfalse(problem, names)], HERE, "--json")


def problem(name):
    """Why this fault cannot be planted here, or None."""
    return build.problem() if GALLERY[name].module.endswith(".cu") else None


@pytest.mark.slow
@pytest.mark.parametrize("name", GALLERY)
def test_fault_is_killed(results, name):
    if problem(name):
        pytest.skip(problem(name))
    fault, result = GALLERY[name], results[name]
    assert result["killed"], (
        f"survived: {fault.mistake} ({fault.module}): {fault.killed_by} "
        f"{result['why'] or 'passes anyway'}"
    )


def test_the_documentation_knows_every_fault():
    page = (ROOT / "docs/mistakes.md").read_text()
    for fault in GALLERY.values():
        assert f": {fault.mistake} |" in page, f"{fault.name} is not in docs/mistakes.md"


@pytest.mark.slow
def test_the_documentation_shows_the_table(request):
    """docs/mistakes.md ends with what `python tests/mutations --markdown` prints."""
    page = (ROOT / "docs/mistakes.md").read_text()
    selected = {item.callspec.params["name"] for item in request.session.items
                if "results" in item.fixturenames and hasattr(item, "callspec")}  # fmt: skip
    if selected == set(GALLERY) and not any(map(problem, GALLERY)):
        table = "\n".join(markdown(request.getfixturevalue("results")))
        new = [row for row in table.splitlines() if row not in page]
        assert new == [], "these rows are new: see `python tests/mutations --markdown`"
        assert page.endswith(f"{table}\n"), "see `python tests/mutations --markdown`"


def test_no_two_faults_have_one_name():
    assert sum(map(len, ROOMS.values())) == len(GALLERY)
