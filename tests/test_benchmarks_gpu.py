"""benchmarks/train_step.py --gpu without a GPU: its message; our side, and the whole program, on
the stand-in for CuPy; PyTorch's steps on the CPU, except for the CUDA graph."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import scratchvae as sv
from scratchvae.backend import gpu_problem

ROOT = Path(__file__).resolve().parents[1]
OURS = ["ours eager", "ours graph"]


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a file of benchmarks/ by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def ours(cupy_on_host, benchmarks, monkeypatch):
    """gpu_ours.py on the stand-in, with products and copies of a size for the CPU."""
    monkeypatch.delitem(sys.modules, "gpu_ours", raising=False)
    module = benchmarks("gpu_ours")
    monkeypatch.setattr(module, "SIZE", 32)
    monkeypatch.setattr(module, "COPIED", 1024)
    monkeypatch.setattr(benchmarks("measure"), "WAKE", 0)
    yield module
    module.forget()
    del sys.modules["gpu_ours"]
    sv.backend._allow_tf32(False)


@pytest.fixture
def in_this_process(ours, benchmarks, monkeypatch):
    """Workers that run in this process, so that `main()` runs on the stand-in."""

    class Worker:
        def __init__(self, module):
            self.functions = vars(benchmarks("measure")) | vars(benchmarks(module))

        def call(self, function, *arguments):
            try:
                return self.functions[function](*arguments)
            except ValueError as error:
                raise benchmarks("measure").Problem(str(error)) from None

        def close(self):
            pass

    monkeypatch.setattr(benchmarks("pair"), "Worker", Worker)
    return Worker


def main(benchmarks, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["train_step.py", "--gpu", *arguments.split()])
    benchmarks("train_step").main()


# --- Without a GPU -------------------------------------------------------------------------------


@pytest.mark.skipif(gpu_problem() is None, reason="there is a GPU")
def test_without_a_gpu():
    """One line, and an exit status that differs from those of success and of a wrong argument."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "benchmarks/train_step.py", "--gpu", "--against", "nothing"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == f"train_step.py: no GPU here ({gpu_problem()}): not measured\n"
    assert done.returncode == 3 and done.stderr == ""


def test_bytes_by_hand(benchmarks):
    """mlp: its weights and biases, the results of its five layers, and its images."""
    parameters = 784 * 400 + 400 + 2 * (400 * 20 + 20) + 20 * 400 + 400 + 400 * 784 + 784
    results = 400 + 20 + 20 + 400 + 784
    model = sv.models.build("mlp")
    x, eps = np.zeros((1, 1, 28, 28), "float32"), np.zeros((1, 20), "float32")
    moved = benchmarks("flops").training_bytes(model, lambda: model.forward(x, eps), 128)
    assert moved == 4 * (10 * parameters + 128 * (5 * results + 3 * 784))


CELEBA = [(32, 32), (64, 16), (128, 8), (256, 4), (512, 2)]  # channels, size: down, then up again
CELEBA += [(256, 4), (128, 8), (64, 16), (32, 32), (3, 64)]


def test_bytes_count_all_layers_that_write(benchmarks):
    """Batch norm, which writes a result of its own, and also pooling and upsampling."""
    flops = benchmarks("flops")
    numbers = {"celeba": 2 * sum(c * s * s for c, s in CELEBA) + 3 * 128 - 128 + 2048, "tiny": 0}
    numbers["tiny"] = 16 * 14**2 + 32 * 7**2 + 512 + 20 + 20 + 512 + 16 * 7**2 + 14**2 + 28**2
    for name, results in numbers.items():
        model = sv.models.build(name)
        x = np.zeros((1, *model.image_shape), "float32")
        eps = np.zeros((1, *model.latent_shape), "float32")
        with model.evaluating():
            moved = flops.training_bytes(model, lambda m=model, x=x, e=eps: m.forward(x, e), 1)
        assert moved / 4 == 10 * model.flat_value.size + 5 * results + 3 * x.size, name


# --- Our side, on the stand-in -------------------------------------------------------------------


def test_ours_on_the_stand_in(ours, benchmarks):
    """Both runs train the model to the same weights; the first losses equal the reference's."""
    subject = ours.prepare(benchmarks("jobs").Job("mlp", 2, gpu=True, tf32=True))
    assert sv.backend.tf32_allowed() and list(ours.RUNS) == OURS
    with sv.using("numpy"):
        model = sv.models.build("mlp")
        losses = model.loss(subject.x, subject.eps)
        model.backward()
    np.testing.assert_allclose(subject.losses, losses, rtol=1e-5)
    assert list(subject.gradient) == list(model.parameters())
    gradient = np.concatenate([a.ravel() for a in subject.gradient.values()])
    np.testing.assert_allclose(gradient, model.flat_grad, rtol=1e-3, atol=1e-4)
    assert subject.flop == 2 * (2 * (2 * 784 * 400) + 3 * 2 * (3 * 20 * 400 + 400 * 784))
    assert subject.moved > 0
    for name in OURS:
        (time,) = ours.times(name, 2)
        assert time > 0
    eager, graph = (ours.stepper_of(name).sums[0] for name in OURS)
    assert eager == graph > 0


def test_a_turn_is_counted_in_steps(ours):
    """Only the steps between the events count; the GPU has finished those before."""
    done, stream = [], ours.cupy.cuda.get_current_stream()
    assert ours.timed(lambda: done.append(1), stream, 4) < 1
    assert len(done) == 5 + 4


def test_a_loss_that_is_not_finite_is_seen(ours, benchmarks):
    ours.prepare(benchmarks("jobs").Job("mlp", 2, gpu=True))
    ours.stepper_of("ours graph")._model.flat_value[...] = np.nan
    ours.times("ours graph", 1)
    ours.times("ours eager", 1)
    assert not ours.is_finite("ours graph") and ours.is_finite("ours eager")


@pytest.mark.slow
def test_the_program_on_the_stand_in(in_this_process, benchmarks, monkeypatch, tmp_path, capsys):
    """Two tables with one row each, and a file with their content."""
    file = tmp_path / "times.json"
    arguments = "--models mlp --batch-sizes 2 --steps 21 --against nothing"
    main(benchmarks, monkeypatch, f"{arguments} --json {file}")
    text = capsys.readouterr().out
    assert text.startswith("GPU stand-in, CUDA 13.0, ")
    assert "sgemm TF32 " in text and "TF32 off, on both sides" in text
    assert "TF32 on (ours: linear layers alone; PyTorch: these and all convolutions)" in text
    rows = [line.split() for line in text.splitlines() if line.startswith("mlp ")]
    assert [row[1] for row in rows] == ["2", "2"] and all(len(row) == 11 for row in rows)
    written = json.loads(file.read_text())
    assert set(written["peaks"]) == {"sgemm", "sgemm TF32", "copy"}
    assert min(written["peaks"].values()) > 0 and written["machine"]["GPU"] == "stand-in"
    assert [result["job"]["tf32"] for result in written["results"]] == [False, True]
    for result in written["results"]:
        assert result["job"]["model"] == "mlp" and result["job"]["batch_size"] == 2
        assert {name: len(t) for name, t in result["milliseconds"].items()} == dict.fromkeys(
            OURS, 2
        )
        assert result["errors"] == result["failed"] == {}


def test_a_row_that_fails_is_a_line(in_this_process, ours, benchmarks, monkeypatch, capsys):
    """The next row is measured by new processes."""
    prepare, asked = ours.prepare, []

    def fails_once(job):
        asked.append(job)
        if len(asked) == 1:
            raise ValueError("out of something")
        return prepare(job)

    monkeypatch.setattr(ours, "prepare", fails_once)
    arguments = "--models mlp --batch-sizes 1 2 --steps 1 --tf32 off"
    with pytest.raises(benchmarks("measure").Problem, match="rows that failed: 1"):
        main(benchmarks, monkeypatch, f"{arguments} --against nothing")
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("mlp ")]
    assert rows[0] == "mlp        1   own failed: out of something" and len(rows) == 2


def test_when_the_minutes_are_over(in_this_process, benchmarks, monkeypatch, capsys):
    times = iter([0.0, 61.0])
    monkeypatch.setattr(benchmarks("train_step").time, "monotonic", lambda: next(times))
    arguments = "--models mlp --batch-sizes 2 --tf32 on --minutes 1 --against nothing"
    main(benchmarks, monkeypatch, arguments)
    assert "mlp        2   own left out: 1 minutes are over\n" in capsys.readouterr().out


# --- The report ----------------------------------------------------------------------------------


THEIRS = {"eager NCHW": [9.0], "eager channels_last fused": [5.0], "graph NCHW": [1.6]}


def result(benchmarks, **theirs):
    times = {"ours eager": [4.0], "ours graph": [1.0, 2.0, 3.0]} | theirs
    errors = {name: [1e-6, 1e-4] for name in theirs}
    job = benchmarks("jobs").Job("mlp", 128, gpu=True)
    return benchmarks("pair").Result(job, 3.0, 0.5, times, errors, {})


def test_a_row_beside_pytorch(benchmarks):
    """The best eager run counts; a failed graph gives "-" and a line with the reason."""
    row = benchmarks("train_step").row
    peaks = {"sgemm": 3000.0, "copy": 1000.0}
    text = row(result(benchmarks, **THEIRS), peaks)
    assert "5.00 (5.00-5.00)  0.40" in text and "9.00" not in text
    assert text.split()[-6:] == ["(1.60-1.60)", "1.25", "-", "1500.0", "50%", "25%"]
    failed = result(benchmarks)._replace(failed={"graph NCHW": "RuntimeError: no"})
    first, second = row(failed, peaks).splitlines()
    assert first.split()[-6:-3] == ["-", "-", "-"] and second == "  graph NCHW: RuntimeError: no"


def test_the_comparison_stops(benchmarks):
    pair, job = benchmarks("pair"), benchmarks("jobs").Job("mlp", 2)
    pair.compare(job, "eager NCHW", [1e-4, 1e-3])
    for errors, what in {
        (2e-3, 0.0): "losses",
        (0.0, 0.02): "gradients",
        (np.nan, 0): "los",
    }.items():
        with pytest.raises(pair.NotTheSame, match=rf"mlp, batch 2: the {what}.*\(eager NCHW\)"):
            pair.compare(job, "eager NCHW", errors)


# --- PyTorch's side, on the CPU ------------------------------------------------------------------


@pytest.fixture
def theirs(benchmarks, monkeypatch):
    pytest.importorskip("torch", reason="pip install -e '.[parity]'")
    module = benchmarks("theirs")
    monkeypatch.setattr(module, "WARM_UP", 1)
    if module.DEVICE != "cpu":
        pytest.skip("there is a GPU: run the program")
    yield module
    module.RUNS.clear()
    module.allow_tf32(False)


def first_step(benchmarks, job):
    """The first step of our side, on the CPU: the stand-in takes a minute for the large models."""
    with sv.using("numba"):
        return benchmarks("ours").first_step(job)[1]


@pytest.mark.parity
@pytest.mark.parametrize("model", ["mlp", "conv", "tiny", "celeba", "skip", "ae"])
def test_pytorch_computes_the_same(theirs, benchmarks, model):
    """Losses and gradients of all eager runs; each run does one step."""
    job = benchmarks("jobs").Job(model, 4, gpu=True)
    subject = first_step(benchmarks, job)
    theirs.start(job)
    names = [name for name in theirs.names(job) if name.startswith("eager")]
    assert len(names) == (2 if model in ("mlp", "ae") else 4)
    for name in names:
        errors = theirs.prepare(name, job, subject)
        assert not isinstance(errors, str), errors
        assert errors[0] < 1e-5 and errors[1] < 1e-3
        before, after = (float(theirs.RUNS[name]()[0]) for _ in range(2))
        assert np.isfinite(before) and after != before


@pytest.mark.parity
def test_both_sides_in_one_row(in_this_process, theirs, benchmarks, monkeypatch, capsys):
    """The CUDA graph does not work on the CPU, and its row says so; GPU events are simulated."""
    monkeypatch.setattr(theirs, "facts", lambda: {"GPU of torch": "some"})
    monkeypatch.setattr(theirs, "times", lambda name, steps: [1e3])
    arguments = "--models mlp --batch-sizes 2 --steps 1 --tf32 off"
    main(benchmarks, monkeypatch, f"{arguments} --against torch")
    *_, row, failed, _, same = capsys.readouterr().out.splitlines()
    assert "1000.00 (1000.00-1000.00) " in row and row.split()[-5:-3] == ["-", "-"]
    assert failed.startswith("  graph NCHW: ") and same.startswith("the same computation: losses")


@pytest.mark.parity
def test_other_weights_stop_the_program(
    in_this_process, ours, theirs, benchmarks, monkeypatch, capsys
):
    """A single changed number in one weight."""
    prepare = ours.prepare

    def other(job):
        subject = prepare(job)
        subject.weights["fc3.bias"][5] += 100
        return subject

    monkeypatch.setattr(ours, "prepare", other)
    monkeypatch.setattr(theirs, "facts", lambda: {"GPU of torch": "some"})
    arguments = "--models mlp --batch-sizes 2 --steps 1 --against torch"
    with pytest.raises(benchmarks("pair").NotTheSame, match="mlp, batch 2: the losses of"):
        main(benchmarks, monkeypatch, arguments)


@pytest.mark.parity
def test_what_fails_is_told(theirs, benchmarks):
    """Without a GPU there is no CUDA graph: one line says so, and the switches are restored."""
    job = benchmarks("jobs").Job("mlp", 2, gpu=True, tf32=True)
    theirs.start(job)
    why = theirs.prepare("graph NCHW", job, first_step(benchmarks, job))
    assert isinstance(why, str) and "Error: " in why and "\n" not in why
    assert theirs.torch.backends.cuda.matmul.allow_tf32 and theirs.torch.backends.cudnn.allow_tf32
    assert theirs.names(job, compiled=True)[-1] == "compile NCHW"
