"""The benchmarks run, compare the same computations, and count operations right. No time is looked
at: what they print on a busy machine is nobody's fault."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_digits
from small_runs import trained

import scratchvae as sv
from scratchvae.ops import CASES

ROOT = Path(__file__).resolve().parents[1]
HAS_TORCH = importlib.util.find_spec("torch") is not None
NO_TORCH = ["--against", "nothing"]
QUARTILES = r"\d+\.\d\d \(\d+\.\d\d-\d+\.\d\d\)"


def run(script, *arguments, options=("-W", "error")):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        *options,
        str(ROOT / f"benchmarks/{script}.py"),
        *map(str, arguments),
    ]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def output(script, *arguments, **options):
    done = run(script, *arguments, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def benchmarks(monkeypatch):
    """Import a file of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


# --- What is measured ----------------------------------------------------------------------------


# Multiplications by hand, per image: of the first layer, and of the others.
BY_HAND = {
    "mlp": (784 * 400, 2 * 400 * 20 + 20 * 400 + 400 * 784),
    "conv": (
        14 * 14 * 32 * (1 * 4 * 4),
        7 * 7 * 64 * (32 * 4 * 4)  # conv2
        + 3136 * 256 + 2 * 256 * 20 + 20 * 256 + 256 * 3136
        + 7 * 7 * 64 * (32 * 4 * 4) + 14 * 14 * 32 * (1 * 4 * 4),  # deconv1, deconv2
    ),
}  # fmt: skip


def training_flop(name):
    """The first layer forward and dw, the others dx as well; an addition for each."""
    first, others = BY_HAND[name]
    return 2 * (2 * first + 3 * others)


@pytest.mark.parametrize("name", BY_HAND)
def test_operations_are_counted(benchmarks, name):
    flops, model = benchmarks("flops"), sv.models.build(name)
    x, eps = np.zeros((1, 1, 28, 28), "float32"), np.zeros((1, 20), "float32")
    assert flops.forward_flop(model, lambda: model.forward(x, eps)) == 2 * sum(BY_HAND[name])
    assert flops.training_flop(model, lambda: model.forward(x, eps)) == training_flop(name)
    assert not any("forward" in vars(module) for module in model.modules())


def test_nothing_is_left_out(benchmarks):
    """Every op has a case, and every model is known."""
    assert {case.split()[0] for case in benchmarks("ops").CASES} == set(CASES)
    assert list(benchmarks("jobs").MODELS) == list(sv.models.MODELS)


def test_turns(benchmarks):
    """Five steps each, in turns, and the rest of them at the end."""
    measure, asked = benchmarks("measure"), []

    class Worker:
        def call(self, function, name, count):
            asked.append((function, name, count))
            return [float(len(asked))] * count

    found = measure.alternate([(Worker(), "a"), (Worker(), "b")], 7)
    assert asked == [("times", "a", 5), ("times", "b", 5), ("times", "a", 2), ("times", "b", 2)]
    assert found == {"a": [1] * 5 + [3] * 2, "b": [2] * 5 + [4] * 2}
    assert measure.best(found, ["a", "b"]) == "a"


def test_threads(benchmarks, monkeypatch):
    for library in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        monkeypatch.setenv(f"{library}_NUM_THREADS", "7")
    benchmarks("measure").set_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    benchmarks("measure").set_threads(2)
    assert os.environ["OPENBLAS_NUM_THREADS"] == os.environ["NUMBA_NUM_THREADS"] == "2"


def test_first_steps_do_not_count(benchmarks, monkeypatch):
    measure, steps = benchmarks("measure"), []
    monkeypatch.setitem(measure.RUNS, "some", lambda: steps.append(1))
    monkeypatch.setattr(measure, "WAKE", 0)
    assert len(measure.times("some", 4)) == 4
    assert len(steps) == 5


# --- The programs --------------------------------------------------------------------------------


@pytest.mark.slow
def test_train_step(tmp_path):
    file = tmp_path / "times.json"
    text = output("train_step", "--models", "mlp", "--steps", 2, "--json", file, *NO_TORCH)
    assert text.startswith("Python ") and "sgemm peak" in text
    assert re.search(rf"^mlp +128 +{QUARTILES} +0\.420 ", text, re.MULTILINE)
    written = json.loads(file.read_text())
    (row,) = written["results"]
    assert row["gflop"] == pytest.approx(128 * training_flop("mlp") / 1e9)
    assert row["job"]["model"] == "mlp" and row["job"]["what"] == "train"
    assert list(row["milliseconds"]) == ["ours"] and row["errors"] == {}
    assert len(row["milliseconds"]["ours"]) == 2 and min(row["milliseconds"]["ours"]) > 0
    assert written["sgemm_peak_gflops"] > 0 and written["arguments"]["steps"] == 2
    assert {"Python", "numpy", "numba", "CPU", "cores", "BLAS"} <= set(written["machine"])


SWEEPS = {
    "batch --models mlp": ("mlp, train: median ms of 30 steps", [2**i for i in range(11)]),
    "image --models skip": ("skip, batch 32, train: median ms of 30 steps", [64, 128, 256]),
    "channels": (
        "conv2d+relu, batch 32, train: median ms of 30 steps",
        [2**i for i in range(3, 9)],
    ),
}


@pytest.mark.parametrize("arguments", SWEEPS)
def test_sweep(benchmarks, monkeypatch, capsys, arguments):
    """A table of steps that take 3 ms and 6 GFLOP each."""
    monkeypatch.setattr(sys, "argv", ["train_step.py", "--sweep", *arguments.split()])
    given, pair, sweep = (
        benchmarks("train_step").arguments(),
        benchmarks("pair"),
        benchmarks("sweep"),
    )

    class Pair:
        theirs, peak = None, 4000

        def measure(self, job, steps):
            assert steps == given.steps
            return pair.Result(job, 6, {"ours": [2, 3, 50]}, {})

    assert given.against == "nothing"
    results = sweep.sweep(Pair(), given, sweep.plan(given))
    title, heading, *rows = capsys.readouterr().out.rstrip().splitlines()
    assert title == SWEEPS[arguments][0] and heading.split()[0] == arguments.split()[0]
    assert [int(row.split()[0]) for row in rows] == SWEEPS[arguments][1]
    for row, result in zip(rows, results, strict=True):
        _, step, image, gflops, share = row.split()
        assert (step, gflops, share) == ("3.00", "2000.0", "50%")
        assert float(image) == pytest.approx(3 / result.job.batch_size, abs=1e-4)


def test_a_layer_and_its_relu(benchmarks):
    jobs, ours = benchmarks("jobs"), benchmarks("ours")
    with sv.using("numba"):
        subject = ours.prepare(jobs.Job(jobs.LAYERS, 2, channels=5))
        ours.forget()
    assert subject.flop == 3 * 2 * (2 * 5 * 14 * 14) * (5 * 3 * 3)


@pytest.mark.slow
def test_ops():
    lines = output("ops", "relu", "kl", "--steps", 2).splitlines()
    assert lines[2].split()[:3] == ["case", "pass", "reference"]
    assert [line.split()[0] for line in lines[3:]] == ["relu"] * 2 + ["kl"] * 2
    assert [line[32:41].strip() for line in lines[3:]] == ["forward", "backward"] * 2


@pytest.mark.slow
def test_cold_start():
    lines = output("cold_start", "--models", "mlp", "--repeats", 1).splitlines()
    names = [line[:18].strip() for line in lines[3:6]]
    assert names == ["python alone", "import numpy", "import scratchvae"]
    model, *milliseconds = lines[-1].split()
    assert model == "mlp" and len(milliseconds) == 6 and min(map(float, milliseconds)) > 0


@pytest.mark.slow
def test_memory():
    lines = output("memory", "--model", "mlp", "--steps", 2, "--batch-size", 8).splitlines()
    (ours,) = [line.split() for line in lines if line.startswith("ours  ")]
    imports, peak, run_alone = map(float, ours[1:4])
    assert 0 < imports < peak and run_alone == pytest.approx(peak - imports, abs=1)


BAD = {
    "train_step --models vgg": "choose from",
    "train_step --steps 0": "must be a whole number above 0, got '0'",
    "train_step --what dance": "choose from",
    "train_step --json /nowhere/a.json": "--json: .*No such file",
    "train_step --models conv --image-size 30 --against nothing": "must be multiples of 4",
    "train_step --sweep channels --models mlp": "takes no --models",
    "ops softmax": "no case for softmax; there are adam, ",
    "cold_start --models vgg": "choose from",
    "memory --model vgg": "choose from",
    "memory --batch-size -1": "must be a whole number above 0",
}


@pytest.mark.parametrize("command", BAD)
def test_bad_arguments(command):
    script, *arguments = command.split()
    done = run(script, *arguments)
    assert done.returncode == 2
    assert re.fullmatch(rf"{script}\.py: error: .*{BAD[command]}.*\n", done.stderr), done.stderr


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
def test_without_pytorch():
    done = run("train_step", "--against", "torch")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr == (
        'train_step.py: error: PyTorch is not installed: pip install -e ".[parity]"\n'
    )


# --- Beside PyTorch ------------------------------------------------------------------------------


def beside_pytorch(script, *arguments):
    pytest.importorskip("torch", reason="pip install -e '.[parity]'")
    return output(script, *arguments, options=())


@pytest.mark.parity
@pytest.mark.parametrize("what", ["train", "forward", "sample", "encode"])
def test_the_same_computation(tmp_path, what):
    """All six models; the programs themselves stop where the two sides differ."""
    file = tmp_path / "times.json"
    arguments = f"--what {what} --batch-size 4 --steps 1 --against torch --json {file}".split()
    assert "the same computation" in beside_pytorch("train_step", *arguments)
    for row in json.loads(file.read_text())["results"]:
        convolves = row["job"]["model"] not in ("mlp", "ae")
        formats = ["NCHW", "channels_last"] if convolves else ["NCHW"]
        fused = [f"{name} fused" for name in formats if what == "train"]
        assert list(row["milliseconds"]) == ["ours", *formats, *fused]
        assert list(row["errors"]) == formats + fused and max(row["errors"].values()) <= 1e-3


@pytest.mark.parity
@pytest.mark.parametrize(
    "job",
    [
        "--models mlp --what evaluate",
        "--models conv --image-size 56 --batch-size 2",
        "--models celeba --image-size 128 --batch-size 2",
    ],
)
def test_other_jobs_beside_pytorch(job):
    assert "the same computation" in beside_pytorch("train_step", *job.split(), "--steps", 1)


@pytest.mark.parity
def test_ops_beside_pytorch():
    """Those whose function in PyTorch is written here."""
    ops = [
        "mean_logvar",
        "reparameterize",
        "bce",
        "mse",
        "kl",
        "kl_free_bits",
        "elbo",
        "batch_norm",
    ]
    lines = beside_pytorch("ops", *ops, "adam", "--steps", 2).splitlines()[3:]
    assert len(lines) == 2 * len(ops) + 1
    assert all(float(line.split()[-3]) > 0 for line in lines)  # PyTorch's milliseconds


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="needs PyTorch")
def test_the_likelihood_is_that_of_conv_in_black_and_white_alone(tmp_path):
    digits = write_digits(tmp_path / "digits")
    grey = trained(tmp_path / "grey", model="conv", data_dir=str(digits))
    done = run("nll", grey)
    assert done.returncode == 2
    said = f"nll.py: error: {grey}: expected a run of conv with --binarize"
    assert done.stderr.splitlines()[-1] == said
    binary = trained(tmp_path / "binary", model="conv", binarize=True, data_dir=str(digits))
    first = output("nll", binary, "--images", 2, "--samples", 5).splitlines()[0]
    assert first == f"{binary / 'weights.safetensors'}, 2 binary test images"
