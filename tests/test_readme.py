"""What README.md says is so."""

import importlib
import re
from pathlib import Path

import pytest

import scratchvae as sv

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.fixture
def trace_step(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("trace_step").trace_step


def test_the_code_runs(capsys):
    training, checking = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    namespace = {}
    with sv.using("numba"):  # `using` also takes back the engine that the code chooses
        exec(training, namespace)
        elbo = float(re.search(r"(\d+) nats per image\n", capsys.readouterr().out)[1])
        assert 100 < elbo < 250
        exec(checking, namespace)
    rows = capsys.readouterr().out.splitlines()[3:]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [(n, "ok") for n in "xwb"]


def test_the_reading_order_is_that_of_a_step(trace_step):
    """The tables name every file that a step of `mlp` enters, in order: on the engine numpy, then
    what the engine numba adds."""
    _, section = README.split("## Reading order")
    section, _ = section.split("\n## ", 1)
    named = re.findall(r"^\| `(\S+)` \|", section, re.MULTILINE)
    entered = [*trace_step("mlp", "numpy").calls]
    added = [file for file in trace_step("mlp", "numba").calls if file not in entered]
    assert named == entered + added


def test_the_paths_exist():
    named = re.findall(r"`((?:scratchvae|kernels|tests|examples|benchmarks|docs)/[\w./]*)`", README)
    named += re.findall(r"\]\(([\w./]+)\)", README)
    assert len(named) > 8
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_expected_numbers_meet_the_targets():
    for model, target in (("mlp", 106.0), ("conv", 100.5), ("tiny", 135.5)):
        (row,) = re.findall(rf"^\| `{model}` \|[^|]*\|(.*)\|$", README, re.MULTILINE)
        numbers = [float(cell) for cell in row.split("|")]
        assert len(numbers) == 3 and max(numbers) <= target
