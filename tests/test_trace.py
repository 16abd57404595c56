"""benchmarks/trace_step.py counts right, and a training step passes through few files."""

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"numpy": (12, 250, 130), "numba": (16, 350, 180)}  # files, calls, changes of file, of mlp


@pytest.fixture
def trace_step(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("trace_step")


def test_files_calls_and_changes_are_counted(trace_step, monkeypatch, tmp_path):
    """f in a.py calls g in b.py twice, one call after the other; g calls h in its own file."""
    (tmp_path / "b.py").write_text("def g(): return h()\ndef h(): return len('abc')\n")
    (tmp_path / "a.py").write_text("import b\ndef f(): return b.g() + b.g()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(trace_step, "ROOT", tmp_path)
    monkeypatch.setattr(trace_step, "FOLDERS", (f"{tmp_path}/",))
    found = trace_step.trace(importlib.import_module("a").f)
    assert list(found.calls.items()) == [("a.py", 1), ("b.py", 4)]
    assert found.entries == {"a.py": 2, "b.py": 1} and found.changes == 3


def test_the_step_passes_train_model_ops_and_optimizer(trace_step, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["trace_step.py", "mlp", "--engine", "numpy"])
    trace_step.main()
    title, _, heading, *rows = capsys.readouterr().out.splitlines()
    files = [row.split()[0] for row in rows]
    assert title.startswith(f"mlp on numpy: {len(rows)} files, ") and heading.startswith("file ")
    assert files[0] == "scratchvae/train.py" and "scratchvae/ops/linear.py" in files
    assert "scratchvae/optim.py" in files and not any("kernels" in file for file in files)


@pytest.mark.parametrize("engine", LIMITS)
def test_a_step_is_short_to_read(trace_step, engine):
    found = trace_step.trace_step("mlp", engine)
    files, calls, changes = LIMITS[engine]
    assert len(found.calls) <= files, f"{len(found.calls)} files: {', '.join(found.calls)}"
    assert found.calls.total() <= calls
    assert found.changes <= changes
