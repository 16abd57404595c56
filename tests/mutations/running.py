"""Run some tests inside this process, without output, and return the results."""

import contextlib
import io
import os
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import pytest

ROOT = Path(__file__).resolve().parents[2]
# With these errors the changed program does not work at all; a fault should give wrong numbers.
ONLY_CRASHES = ("NameError", "UnboundLocalError", "ImportError", "ModuleNotFoundError")


class Run(NamedTuple):
    passed: list[str]  # node ids
    failed: list[str]  # in the test itself, not in a fixture
    messages: list[str]  # of the failures, one line each
    files: list[str]  # in which they were raised
    trouble: str  # why this run is inconclusive, or ""


class _Recorder:
    def __init__(self):
        self.passed, self.failed, self.messages, self.files, self.others = [], [], [], [], []

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.failed:
            self.failed.append(report.nodeid)
            crash = getattr(report.longrepr, "reprcrash", None)
            self.messages.append(str(crash.message if crash else report.longrepr).split("\n")[0])
            self.files.append(str(crash.path if crash else ""))
        elif report.when == "call" and report.passed:
            self.passed.append(report.nodeid)
        elif report.failed or report.skipped:
            self.others.append(f"{report.nodeid}: {report.outcome} in {report.when}")


def run_tests(*nodes, stop_at_first_failure=True, profile="mutations"):
    """Run the tests of these node ids; a fault may be planted around the call. `profile` is a
    hypothesis profile of tests/conftest.py."""
    recorder, output = _Recorder(), io.StringIO()
    options = ["-q", "--tb=line", "-p", "no:cacheprovider", f"--hypothesis-profile={profile}"]
    options += ["-p", "no:unraisableexception"]  # it runs the garbage collector ten times per run
    options += ["-m", "not gpu"]  # overrides setup.cfg, because the tests are named explicitly
    options += ["-x"] if stop_at_first_failure else []
    options += ["-c", str(ROOT / "setup.cfg"), "--rootdir", str(ROOT)]
    with (
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(output),
        patch.dict(os.environ),
    ):
        os.environ.pop("PYTEST_ADDOPTS", None)  # they are for the outer session
        code = pytest.main([*options, *(f"{ROOT}/{node}" for node in nodes)], plugins=[recorder])
    trouble = ""
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED) or recorder.others:
        trouble = f"pytest ended with {code!r}; {recorder.others}\n{output.getvalue()}"
    return Run(recorder.passed, recorder.failed, recorder.messages, recorder.files, trouble)
