"""Runs survive faults of machines and mix-ups of users: `python tests/faults` prints a table.

It forks, so it runs in a separate process without threads.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kills and limits as on Linux")


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.parametrize(
    ("group", "kills"),
    [
        ("kills", 15),
        ("damage", 0),
        ("storage", 0),
        ("stops", 0),
        ("identity", 0),
        ("combinations", 6),
    ],
)
def test_no_fault_fails(group, kills):
    """A run ends as if it had not been disturbed, or is refused before anything is changed."""
    command = [sys.executable, str(HERE), "--json", group, "--kills", str(kills)]
    if group not in ("kills", "storage", "combinations"):
        command.append("--numpy")
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    assert len(rows) >= (kills or 9)
    assert [row for row in rows if row["verdict"] == "FAILED"] == []
