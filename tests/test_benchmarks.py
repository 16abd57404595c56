"""The benchmarks run, compare the same computations, and count operations correctly. The tests do
not check times, because other programs may run on the machine."""

import importlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from itertools import product
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
    """Import a file of benchmarks/ by name."""
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
    """Forward and dw for the first layer, also dx for the others; 2 operations per product."""
    first, others = BY_HAND[name]
    return 2 * (2 * first + 3 * others)


@pytest.mark.parametrize("name", BY_HAND)
def test_operations_are_counted(benchmarks, name):
    flops, model = benchmarks("flops"), sv.models.build(name)
    x, eps = np.zeros((1, 1, 28, 28), "float32"), np.zeros((1, 20), "float32")
    assert flops.training_flop(model, lambda: model.forward(x, eps)) == training_flop(name)
    assert not any("forward" in vars(module) for module in model.modules())


def test_models_are_known(benchmarks):
    assert list(benchmarks("jobs").MODELS) == list(sv.models.MODELS)


@pytest.mark.parametrize("op", CASES)
def test_every_op_is_timed(benchmarks, op):
    """With its sizes in ops.py or derived ones: the example's arrays, for 32 images or more."""
    example = list(CASES[op][0].shapes)
    for case in benchmarks("ops").timed(op).values():
        assert list(case.shapes) == example, f"{op}: SIZES has other arrays than the example"
        assert case.shapes[example[0]][0] >= 32


def test_an_op_without_sizes(benchmarks):
    """Arrays of one shape get the same numbers; otherwise only the batch grows."""
    derived, Case = benchmarks("ops").derived, type(CASES["relu"][0])
    assert derived(Case({"x": (3, 4), "y": (3, 4)})) == dict.fromkeys("xy", (128, 32 * 14 * 14))
    assert derived(Case({"x": (2, 3, 6, 5)})) == {"x": (128, 32, 14, 14)}
    assert derived(Case({"x": (2, 3, 4)})) == {"x": (128, 32, 14 * 14)}
    assert derived(Case({"x": (5,)})) == {"x": (128,)}
    assert derived(Case({"x": (3, 4), "w": (5, 4)})) == {"x": (128, 4), "w": (5, 4)}


def test_sizes_are_of_ops_that_exist(benchmarks):
    assert set(benchmarks("ops").SIZES) <= set(CASES)


@pytest.mark.parity
@pytest.mark.parametrize("op", CASES)
def test_every_op_has_a_function_of_pytorch(benchmarks, op):
    pytest.importorskip("torch", reason="pip install -e '.[parity]'")
    assert callable(benchmarks("their_ops").function(op))
    said = f"{op}_nowhere: neither torch.nn.functional nor torch has a function of this name"
    with pytest.raises(ValueError, match=said):
        benchmarks("their_ops").function(f"{op}_nowhere")


def test_turns(benchmarks):
    """Five steps each, in turns, and the remaining steps at the end."""
    measure, asked = benchmarks("measure"), []

    class Worker:
        def call(self, function, name, count):
            asked.append((function, name, count))
            return [float(len(asked))] * count

    found = measure.alternate([(Worker(), "a"), (Worker(), "b")], 7)
    assert asked == [("times", "a", 5), ("times", "b", 5), ("times", "a", 2), ("times", "b", 2)]
    assert found == {"a": [1] * 5 + [3] * 2, "b": [2] * 5 + [4] * 2}
    assert measure.best(found, ["a", "b"]) == "a"


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
    assert text.startswith("cpu ") and "sgemm " in text
    assert re.search(rf"^mlp +128 +own +{QUARTILES} +\d", text, re.MULTILINE)
    written = json.loads(file.read_text())
    (row,) = written["results"]
    assert row["gflop"] == pytest.approx(128 * training_flop("mlp") / 1e9)
    assert row["job"]["model"] == "mlp" and not row["job"]["gpu"]
    assert list(row["milliseconds"]) == ["ours"] and row["errors"] == {}
    assert len(row["milliseconds"]["ours"]) == 2 and min(row["milliseconds"]["ours"]) > 0
    assert written["peaks"]["sgemm"] > 0 and written["arguments"]["steps"] == 2
    assert {"python", "numpy", "numba", "cpu", "cores", "blas core", "blas threads"} <= set(
        written["machine"]
    )


def test_a_row_for_every_size(benchmarks, monkeypatch):
    """Rows for steps of 3 ms and 6 GFLOP each."""
    arguments = "--models conv skip --batch-sizes 1 2 --image-sizes 64 128 --against nothing"
    monkeypatch.setattr(sys, "argv", ["train_step.py", *arguments.split()])
    train_step, pair = benchmarks("train_step"), benchmarks("pair")
    given = train_step.arguments()
    assert given.steps == 30
    jobs = train_step.jobs(given, tf32=False)
    found = {(job.model, job.batch_size, job.image_size) for job in jobs}
    assert len(jobs) == 8 and found == set(product(["conv", "skip"], [1, 2], [64, 128]))
    row = train_step.row(pair.Result(jobs[0], 6, 0, {"ours": [2, 3, 50]}, {}, {}), {"sgemm": 4000})
    assert row.split() == ["conv", "1", "64", "3.00", "(2.50-26.50)", "2000.0", "50%"]
    heading = train_step.heading(given, tf32=False).splitlines()[-1]
    assert heading.split() == ["model", "batch", "image", "ours", "GFLOP/s", "of", "sgemm"]


@pytest.mark.slow
def test_ops():
    lines = output("ops", "relu", "kl", "--steps", 2).splitlines()
    assert lines[1].split()[:3] == ["case", "pass", "reference"]
    assert [line.split()[0] for line in lines[2:]] == ["relu"] * 2 + ["kl"] * 2
    assert [line[32:41].strip() for line in lines[2:]] == ["forward", "backward"] * 2


@pytest.mark.slow
def test_fresh_process():
    lines = output("fresh_process", "--models", "mlp", "--repeats", 1, "--steps", 3).splitlines()
    assert lines[2].split()[:4] == ["model", "run", "since", "start"]
    for line, name in zip(lines[3:5], ("ours, cold", "ours, warm"), strict=True):
        model, numbers = line[:6].strip(), [*map(float, line[29:].split())]
        assert model == "mlp" and line[7:29].strip() == name and len(numbers) == 7
        since_start, first_step, _, imports, peak, run_alone, _ = numbers
        assert since_start >= first_step > 0
        assert 0 < imports < peak and run_alone == pytest.approx(peak - imports, abs=1)


def test_all_scripts_can_be_imported(benchmarks):
    """Scripts that import PyTorch or CuPy are skipped if it is not installed."""
    for path in sorted((ROOT / "benchmarks").glob("*.py")):
        try:
            benchmarks(path.stem)
        except ModuleNotFoundError as error:
            assert error.name in ("torch", "cupy"), path


BAD = {
    "train_step --models vgg": "choose from",
    "train_step --steps 0": "must be a whole number above 0, got '0'",
    "train_step --tf32 maybe": "choose from",
    "train_step --json /nowhere/a.json": "--json: .*No such file",
    "ops softmax": "no case for softmax; there are adaptive_avg_pool2d, ",
    "fresh_process --models vgg": "choose from",
    "fresh_process --steps -1": "must be a whole number above 0",
    "trace_step vgg": "choose from",
}


@pytest.mark.parametrize("command", BAD)
@pytest.mark.slow
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


# --- Compared with PyTorch -----------------------------------------------------------------------


def beside_pytorch(script, *arguments):
    pytest.importorskip("torch", reason="pip install -e '.[parity]'")
    return output(script, *arguments, options=())


@pytest.mark.parity
def test_the_same_computation(tmp_path):
    """All six models; the program itself stops if the two sides differ."""
    file = tmp_path / "times.json"
    arguments = f"--batch-sizes 4 --steps 1 --against torch --json {file}".split()
    assert "the same computation" in beside_pytorch("train_step", *arguments)
    for row in json.loads(file.read_text())["results"]:
        convolves = row["job"]["model"] not in ("mlp", "ae")
        formats = ["NCHW", "channels_last"] if convolves else ["NCHW"]
        runs = [f"eager {name}{update}" for update in ("", " fused") for name in formats]
        assert list(row["milliseconds"]) == ["ours", *runs]
        assert list(row["errors"]) == runs
        assert all(loss <= 1e-3 and slope <= 1e-2 for loss, slope in row["errors"].values())


@pytest.mark.parity
def test_other_sizes_beside_pytorch():
    arguments = ["--models", "skip", "--image-sizes", "128", "--batch-sizes", "2", "--steps", "1"]
    assert "the same computation" in beside_pytorch("train_step", *arguments)
    done = run("train_step", "--models", "conv", "--image-sizes", 56, "--steps", 1, options=())
    assert done.returncode == 2 and "is written for images of 28 x 28" in done.stdout


@pytest.mark.parity
def test_ops_beside_pytorch():
    """The ops whose PyTorch function is written in their_ops.py."""
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
    lines = beside_pytorch("ops", *ops, "--steps", 2).splitlines()[2:]
    assert len(lines) == 2 * len(ops)
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
