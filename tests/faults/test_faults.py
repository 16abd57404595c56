"""Runs survive the faults of machines: `python tests/faults` prints a table.

It forks, so it runs in a separate process without threads.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and limits as on Linux")


def verdicts(*arguments):
    """Fault -> record."""
    command = [sys.executable, str(HERE), "--json", *arguments]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode in (0, 1), run.stderr
    return json.loads(run.stdout)


@pytest.mark.slow
def test_killed_runs_end_as_if_nothing_had_happened():
    rows = verdicts("kills", "--kills", "6", "--numpy")
    assert len(rows) == 6
    assert [row for row in rows if row["verdict"] == "FAILED"] == []


@pytest.mark.slow
def test_nothing_is_lost_but_the_work_since_the_last_checkpoint():
    rows = verdicts("--kills", "50")
    assert len(rows) > 90
    assert [row for row in rows if row["verdict"] == "FAILED"] == []


@pytest.mark.slow
def test_damaged_files_are_never_loaded():
    rows = verdicts("damage", "--numpy")
    assert [row for row in rows if row["verdict"] == "FAILED"] == []
