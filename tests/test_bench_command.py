"""`scratchvae bench`: its output. Speed is not tested."""

import json

import pytest

from scratchvae.__main__ import main
from scratchvae.backend import current_engine
from scratchvae.commands import bench
from scratchvae.runs.environment import machine_facts

SMALL = ["--batch-size", "4", "--steps", "2"]


@pytest.fixture(autouse=True)
def no_rest(monkeypatch):
    monkeypatch.setattr(bench, "REST", 0)


def run_json(capsys, *arguments):
    assert main(["bench", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_row_for_each_model_and_engine(capsys, monkeypatch):
    monkeypatch.setattr("scratchvae.commands.kernels.gpu_problem", lambda: "no GPU here")
    before = current_engine()
    assert main(["bench", "mlp", "tiny", *SMALL]) == 0
    out, err = capsys.readouterr()
    machine, settings, blank, heading, _, *rows = out.splitlines()
    assert machine.startswith("cpu ") and f"cores {machine_facts()['cores']}" in machine
    assert settings == "batch 4, float32" and blank == ""
    assert heading.split()[:4] == ["model", "engine", "ms/step", "images/s"]
    assert [row.split()[:2] for row in rows] == [
        [model, engine] for model in ("mlp", "tiny") for engine in ("numpy", "numba")
    ]
    assert [row.split()[-1] for row in rows if "numpy" in row] == ["1.00", "1.00"]
    assert "skipping cuda: no GPU here\n" in err
    assert current_engine() == before


def test_json(capsys, engine):
    """With a single engine there is no comparison, except for numpy's own."""
    name = engine.removesuffix("_on_host")
    found = run_json(capsys, *SMALL, "--engine", name)
    assert found["batch_size"] == 4 and found["dtype"] == "float32" and found["tf32"] is False
    assert found["machine"]["numpy"] and found["machine"]["cores"] >= 1
    (row,) = found["results"]
    assert (row["model"], row["engine"], row["steps"]) == ("mlp", name, 2)
    assert row["images_per_second"] == pytest.approx(4e3 / row["ms_per_step"])
    assert row["speedup"] == (1 if name == "numpy" else None)


@pytest.mark.slow
def test_steps_are_those_of_the_options(capsys, monkeypatch):
    """The requested number, or as many as fill the seconds, in a whole number of rounds."""
    monkeypatch.setattr(bench, "seconds", lambda stepper, x, count: 0.5 * count)
    (row,) = run_json(capsys, "--engine", "numpy", "--steps", "3", "--batch-size", "5")["results"]
    assert (row["steps"], row["ms_per_step"], row["images_per_second"]) == (3, 500, 10)
    (row,) = run_json(capsys, "--engine", "numpy", "--seconds", "11", "--dtype", "float64")[
        "results"
    ]
    assert row["steps"] == 4 * bench.ROUNDS
    (row,) = run_json(capsys, "--engine", "numpy", "--seconds", "0.1")["results"]
    assert row["steps"] == bench.ROUNDS


def test_each_step_trains():
    stepper, x = bench.make_stepper("mlp", "numpy", 4, "float64")
    assert bench.seconds(stepper, x, 1) > 0
    total, *_, images = stepper.sums
    assert images == 4
    assert bench.seconds(stepper, x, 3) > 0
    later, *_, images = stepper.sums
    assert images == 16 and (later - total) / 3 < total
    assert x.dtype == "float64" and len(x) == 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--steps", "0"], "argument --steps: must be above 0, got 0"),
        (["--steps", "2", "--seconds", "2"], "not allowed with argument"),
    ],
)
def test_usage_errors(capsys, arguments, said):
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *arguments])
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_an_engine_that_is_not_there_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr("scratchvae.backend.gpu_problem", lambda: "no GPU here")
    with pytest.raises(SystemExit, match="2"):
        main(["bench", "--engine", "cuda", *SMALL])
    err = capsys.readouterr().err
    assert err.endswith("scratchvae bench: error: use('cuda'): no GPU here\n")
