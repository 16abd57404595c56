"""A run inside the folder of its own pictures: it neither trains on its plots nor is locked out."""

import json
import signal
from pathlib import Path

import pytest
from photographs import write_photographs

from scratchvae.__main__ import main
from scratchvae.runs import Config, resume, train
from scratchvae.runs.signals import Stopped


@pytest.mark.parametrize("split", ["spread", pytest.param("tail", marks=pytest.mark.slow)])
def test_stopped_resumed_finished_and_evaluated(tmp_path, monkeypatch, capsys, split):
    write_photographs(tmp_path / "photos", 25)
    monkeypatch.chdir(tmp_path / "photos")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    config = Config(
        model="conv", data="images:.", image_size="8", pictures=(1, 2), epochs=3, batch_size=8,
        engine="numpy", split=split,
    )  # fmt: skip
    lines = []

    def stop_after_two_epochs(line):
        lines.append(line)
        if line.split()[:2] == ["epoch", "2"]:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Stopped):
        train(config, say=stop_after_two_epochs, bar=False)
    assert {*Path("runs/conv/pictures").iterdir()}
    lines.clear()
    resume("runs/conv", lines.append, bar=False)
    assert lines[0] == "photos: 25 files: 25 read, 1 run of scratchvae skipped"
    train(config, folder="runs/second", say=lines.append, bar=False)
    for run in ("runs/conv", "runs/second"):
        assert main(["evaluate", run, "--json", "--engine", "numpy"]) == 0
        out, err = capsys.readouterr()
        assert "25 read, 2 runs of scratchvae skipped" in err and "changed" not in err
        metrics = json.loads(Path(run, "metrics.json").read_text())
        assert json.loads(out)["test"]["neg_elbo"] == metrics["test"]["neg_elbo"]
    first, second = (Path(f"runs/{run}/history.csv").read_text() for run in ("conv", "second"))
    assert first == second
