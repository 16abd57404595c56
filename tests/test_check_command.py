"""`scratchvae check`."""

import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from scratchvae import layers, ops
from scratchvae.__main__ import main
from scratchvae.models import MODELS
from scratchvae.ops import CASES, conv2d


def run(capsys, *arguments):
    code = main(["check", *arguments, "--engine", "numba"])
    out, err = capsys.readouterr()
    remark = "scratchvae: compiling kernels"  # if no test has called them before
    lines = [line for line in err.splitlines(keepends=True) if not line.startswith(remark)]
    return code, out, "".join(lines)


def fails(capsys, *arguments):
    with pytest.raises(SystemExit, match="2"):
        main(["check", *arguments])
    return capsys.readouterr().err.splitlines()[-1]


@pytest.fixture
def dw_forgets_an_element(monkeypatch):
    """Make conv2d's backward wrong on all engines."""

    def broken(backward, dy, cache, need_dx=True):
        dx, dw, db = backward(dy, cache, need_dx)
        dw = dw.copy()
        dw[1, 0, 1, 1] = 0
        return dx, dw, db

    for module in (ops, layers):
        monkeypatch.setattr(module, "conv2d_backward", partial(broken, conv2d.conv2d_backward))


@pytest.mark.parametrize("op", CASES)
def test_ops(capsys, op):
    code, out, err = run(capsys, op)
    assert code == 0 and err == ""
    assert out.startswith("float64, engine numba\n")
    assert "central differences\n" in out and "complex step\n" in out
    assert ("adjointness\n" in out) == bool(CASES[op][0].linear)
    gradients = int(out.splitlines()[-1].split()[1])
    assert out.splitlines()[-1] == f"{op}: {gradients} of {gradients} gradients right"


@pytest.mark.parametrize("method", ["central", "direction", "complex", "adjoint"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_methods_and_dtypes(capsys, method, dtype):
    code, out, _ = run(capsys, "linear", "--method", method, "--dtype", dtype)
    assert code == 0 and out.startswith(f"{dtype}, engine numba") and out.count("linear") == 3
    assert ("2e-05" in out) == (dtype == "float32")


@pytest.mark.parametrize("model", [pytest.param("mlp", marks=pytest.mark.slow), "tiny"])
def test_models(capsys, model):
    code, out, err = run(capsys, model)
    assert code == 0 and err == "" and "complex step" in out
    code, out, _ = run(capsys, model, "--method", "central", "--seed", "1")
    assert code == 0 and "rounding" in out


@pytest.mark.slow
@pytest.mark.parametrize("target", ["linear", pytest.param("mlp", marks=pytest.mark.slow)])
def test_engines(capsys, engine, tmp_path, target):
    """Also with pictures of ops; those of a model take long."""
    name = engine.removesuffix("_on_host")
    pictures = ["--plot", str(tmp_path)] if target in CASES else []
    code = main(["check", target, "--engine", name, *pictures])
    out, err = capsys.readouterr()
    assert code == 0 and err == "" and out.startswith(f"float64, engine {name}\n")


@pytest.mark.slow  # .ci/run also calls the command, with all models
def test_all(capsys, monkeypatch, few_channels):
    """A line for each op and model, and the names of the ten biases without a gradient."""
    models = {name: MODELS[name] for name in ("tiny", "celeba", "skip")}
    monkeypatch.setattr("scratchvae.commands.check.MODELS", models)
    code, out, err = run(capsys, "--all")
    assert code == 0 and err == ""
    rows = [line.split() for line in out.splitlines()]
    for name in (*CASES, *models):
        (row,) = (row for row in rows if row and row[0] == name)
        assert row[-1] == "ok"
    assert (
        "celeba: gradients that are identically zero: encoder.0.0.bias, encoder.1.0.bias, " in out
    )


def test_a_wrong_op_fails(capsys, dw_forgets_an_element):
    code, out, err = run(capsys, "conv2d")
    assert code == 1 and "conv2d: 9 of 15 gradients right" in out
    assert "conv2d: the gradient of w, shape (4, 3, 3, 2), is wrong" in err
    assert "at w[1, 0, 1, 1] backward gives 0, differences give" in err
    assert "at w[1, 0, 1, 1] backward gives 0, the complex step gives" in err
    assert "at w[1, 0, 1, 1] backward gives 0, the forward pass gives" in err


@pytest.mark.parametrize("broken", [False, True])
def test_json_has_a_record_for_each_case_and_method(capsys, request, broken):
    """The exit status and standard error are the same as with the table."""
    if broken:
        request.getfixturevalue("dw_forgets_an_element")
    table = run(capsys, "conv2d")
    code, out, err = run(capsys, "conv2d", "--json")
    found = json.loads(out)
    assert (code, err) == (table[0], table[2]) and code == broken
    assert (found["engine"], found["dtype"], found["passed"]) == ("numba", "float64", not broken)
    assert [check["method"] for check in found["checks"]] == [
        method for method in ("central", "complex", "adjoint") for _ in CASES["conv2d"]
    ]
    assert {check["target"] for check in found["checks"]} == {"conv2d"}
    assert sum(check["gradients"] for check in found["checks"]) == 15
    for check in found["checks"]:
        assert check["passed"] == (not broken) == (check["worst_error"] < 1e-6)
        assert not broken or check["worst_gradient"] == "w"


@pytest.mark.slow
def test_json_of_all_names_every_op_and_model(capsys, monkeypatch):
    """Two of each are enough."""
    few = {name: CASES[name] for name in ("linear", "relu")}
    monkeypatch.setattr("scratchvae.commands.check.CASES", few)
    models = {name: MODELS[name] for name in ("mlp", "tiny")}
    monkeypatch.setattr("scratchvae.commands.check.MODELS", models)
    code, out, err = run(capsys, "--all", "--json")
    found = json.loads(out)
    assert (code, err, found["passed"]) == (0, "", True)
    assert {check["target"] for check in found["checks"]} == {"linear", "relu", "mlp", "tiny"}


def test_all_by_adjointness_leaves_out_what_is_not_linear(capsys, monkeypatch):
    few = {name: CASES[name] for name in ("linear", "relu")}
    monkeypatch.setattr("scratchvae.commands.check.CASES", few)
    code, out, err = run(capsys, "--all", "--method", "adjoint")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line}
    assert (code, err) == (0, "") and "model" not in out
    assert rows["op"] == ["gradients", "zero", "adjoint", "verdict"]
    assert rows["linear"][0] != "0" and rows["relu"] == ["0", "0", "-", "ok"]


def test_json_names_the_pictures(capsys, tmp_path):
    code, out, _ = run(capsys, "relu", "--json", "--plot", str(tmp_path))
    assert code == 0 and json.loads(out)["pictures"] == [str(path) for path in tmp_path.iterdir()]


@pytest.mark.slow
def test_all_fails_with_one_wrong_op(capsys, monkeypatch, few_channels, dw_forgets_an_element):
    """Only two models, one without a convolution, as locating a wrong gradient takes long."""
    models = {name: MODELS[name] for name in ("mlp", "tiny")}
    monkeypatch.setattr("scratchvae.commands.check.MODELS", models)
    code, out, err = run(capsys, "--all")
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.split()}
    assert code == 1 and rows["conv2d"] == rows["tiny"] == "FAIL"
    assert rows["linear"] == rows["mlp"] == "ok"
    assert "Tiny: the gradient of conv1.weight, shape" in err


@pytest.mark.slow
def test_not_shown_is_not_passed(capsys, few_channels):
    """Tiny gradients are below the rounding of differences: exit status 1, with the reason."""
    code, out, err = run(capsys, "skip", "--method", "central")
    assert code == 1 and "unseen" in out and "FAIL" not in out
    assert "could not be checked" in err and "method='complex'" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either an op, a model or a file, or --all"),
        (["conv2d", "--all"], "give either an op, a model or a file, or --all"),
        (
            ["relu", "--method", "adjoint"],
            "relu is not linear, so the method adjoint does not apply",
        ),
        (["mlp", "--method", "adjoint"], "a loss is not linear"),
        (["relu", "--seed", "-1"], "argument --seed: must be 0 or more, got -1"),
    ],
)
def test_usage_errors(capsys, arguments, said):
    assert said in fails(capsys, *arguments, "--engine", "numpy")


def test_cuda_where_there_is_none(capsys, monkeypatch):
    monkeypatch.setattr("scratchvae.backend.gpu_problem", lambda: "no GPU here")
    assert "no GPU here" in fails(capsys, "relu", "--engine", "cuda")


@pytest.mark.slow
def test_plots(capsys, tmp_path):
    folder = tmp_path / "deep" / "pictures"
    code, out, _ = run(capsys, "conv2d", "--plot", str(folder))
    names = {"conv2d", "conv2d-no-bias"}
    pictures = {path.name for path in folder.iterdir()}
    assert code == 0 and pictures == {f"{n}-{p}.png" for n in names for p in ("step", "kernels")}
    for path in folder.iterdir():
        assert str(path) in out
        assert len(np.unique(np.asarray(Image.open(path)))) > 20
    code, out, _ = run(capsys, "tiny", "--plot", str(folder))
    assert code == 0 and "Tiny: gradient of conv1.weight" in out
    assert (folder / "tiny-step.png").exists() and (folder / "tiny-kernels.png").exists()


def test_a_folder_that_cannot_be(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("scratchvae.commands.check.check_op", None)
    path = tmp_path / "file"
    path.write_text("")
    said = f"--plot: expected a folder, got the file {path}"
    assert said in fails(capsys, "relu", "--plot", str(path))
