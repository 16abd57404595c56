"""What counts as killed, and the report about a fault that survives."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from examining import markdown, table
from judges import JUDGES

from scratchvae.exercises.gallery import Fault

HARMLESS = Fault(
    "harmless", "scratchvae.ops.linear", [("y = y + b", "y = b + y")], "nothing",
    "tests/ops/test_linear.py::test_linear[numpy]", "linear",
)  # fmt: skip
CHANGES = {"harmless": "y = b + y", "wrong": "y = y - b", "crash": "y = y + c"}
# In a separate process, because an inner run of pytest would change the settings of the outer one.
SCRIPT = """
import json
from examining import examine, without_faults
from judges import JUDGES, ask
from planting import planted
from running import run_tests
from test_examining import CHANGES, HARMLESS

def fault(name):
    return HARMLESS._replace(changes=[("y = y + b", CHANGES[name])])

answers = {name: examine(fault(name)) for name in CHANGES}
kl = HARMLESS._replace(killed_by="tests/ops/test_losses.py::test_kl[numpy]")
with planted(fault("wrong")):
    answers["test fails anyway"] = without_faults([HARMLESS])
    answers["judge sees one anyway"] = without_faults([kl])
answers["nothing planted"] = without_faults([HARMLESS, kl])
answers["kl"] = {judge: ask(judge, "kl") for judge in JUDGES}
answers["no such test"] = run_tests("tests/ops/test_linear.py::test_nothing")._asdict()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def answers():
    here = Path(__file__).resolve().parent
    path = [str(here), str(here.parent), str(here.parents[1])]
    code = f"import sys; sys.path[:0] = {path}\n{SCRIPT}"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "killed", "why", "seen"),
    [
        ("harmless", False, "", False),
        ("wrong", True, "AssertionError", True),
        ("crash", False, "NameError", True),  # a program that only crashes does not count
    ],
)
def test_what_counts_as_killed(answers, name, killed, why, seen):
    answer = answers[name]
    assert answer["killed"] is killed and answer["why"].partition(":")[0] == why
    assert answer["seen"] == {"gradient": seen, "naive": seen, "engines": seen, "pytorch": seen}


@pytest.mark.slow
def test_a_judge_may_have_nothing_to_say(answers):
    """An op without a kernel."""
    assert answers["kl"] == {"gradient": False, "naive": False, "engines": None, "pytorch": False}


@pytest.mark.slow
def test_what_fails_anyway_kills_nothing(answers):
    assert "test_linear[numpy]" in answers["test fails anyway"]
    assert "the judge 'gradient' sees one in linear" in answers["judge sees one anyway"]
    assert answers["nothing planted"] == ""


@pytest.mark.slow
def test_a_run_that_says_nothing_is_no_kill(answers):
    run = answers["no such test"]
    assert "not found" in run["trouble"] and run["failed"] == []


def test_a_survivor_is_shown(monkeypatch):
    monkeypatch.setattr("examining.ROOMS", {"room": [HARMLESS]})
    results = {"harmless": {"killed": False, "why": "", "seen": dict.fromkeys(JUDGES, False)}}
    *_, row, reason, total = table(results)
    assert row.endswith("SURVIVES") and reason.endswith("test_linear[numpy]: passes")
    assert total == "\n0 of 1 faults killed"
    assert "| `harmless`, `ops.linear`: nothing | - | - | - | - | none |" in markdown(results)
