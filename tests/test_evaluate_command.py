"""`scratchvae evaluate` and `encode`: their output, with the numbers of metrics.py."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from idx_files import write_digits
from small_runs import trained

import scratchvae as sv
from scratchvae.__main__ import main, make_parser
from scratchvae.commands import evaluate, options
from scratchvae.evaluation.metrics import report
from scratchvae.runs import open_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """mlp on grey and on binary images, and an autoencoder; two latent dimensions."""
    root = tmp_path_factory.mktemp("runs")
    digits = {"data_dir": str(write_digits(root / "digits")), "latent_dim": 2}
    return {
        "grey": trained(root / "grey", model="mlp", seed=3, **digits),
        "binary": trained(root / "binary", model="mlp", binarize=True, **digits),
        "ae": trained(root / "ae", model="ae", **digits),
    }


@pytest.fixture
def run(runs, capsys):
    """Run the command on the engine numpy; return its output."""

    def run_here(name, *options):
        assert main(["evaluate", str(runs[name]), "--engine", "numpy", *options]) == 0
        return capsys.readouterr().out

    return run_here


@pytest.fixture
def refused(runs, tmp_path, capsys):
    """Run a command that ends with status 2 and without a result; return its message."""

    def run_here(name, *options):
        words = ["evaluate", str(runs.get(name, tmp_path)), "--engine", "numpy", *options]
        with pytest.raises(SystemExit) as end:
            main(words)
        assert end.value.code == 2
        out, err = capsys.readouterr()
        assert out == ""
        return err.splitlines()[-1]

    return run_here


def rows(out):
    """The table's cells by the name of the row."""
    lines = [line.split("  ") for line in out.splitlines() if "  " in line]
    cells = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    return {name: rest for name, *rest in cells}


def test_the_table(run, runs):
    out = run("grey")
    found = json.loads((runs["grey"] / "metrics.json").read_text())["test"]
    table = rows(out)
    assert table["weights"] == [str(runs["grey"] / "weights.safetensors")]
    said = "mnist: 20 test images, grey levels treated as probabilities (the -ELBO bounds no"
    assert table["data"] == [f"{said} likelihood)"] and table["engine"] == ["numpy"]
    elbo = found["neg_elbo"]
    assert table["-ELBO"] == [
        f"{elbo['value']:.2f} ± {elbo['standard_error']:.2f}", "nats per image"
    ]  # fmt: skip
    assert table["KL"][0] == f"{found['kl']:.2f}"
    assert table["active units"][0] == f"{found['active_units']} of 2"
    shown = [name for name in table if name.startswith("KL of")]
    order = np.argsort(-np.array(found["kl_per_dimension"]))
    assert shown == [f"KL of z[{d}]" for d in order], "the strongest one first"
    assert table["mean squared error"][0] == f"{found['reconstruction']['mse']:.3g}"
    assert table["PSNR"] == [f"{found['reconstruction']['psnr']:.2f}", "dB"]
    assert table["change, random z"][0] == f"{found['effect_of_z']['change']:.3g}"
    assert "log p(x)" not in out


def test_the_numbers_are_those_of_metrics_json_unless_there_is_a_seed(run, runs):
    found = json.loads(run("grey", "--json"))
    assert found["test"] == json.loads((runs["grey"] / "metrics.json").read_text())["test"]
    assert (found["seed"], found["model"], found["engine"]) == (3, "mlp", "numpy")
    other = json.loads(run("grey", "--json", "--seed", "4"))
    assert other["seed"] == 4 and other["test"]["neg_elbo"] != found["test"]["neg_elbo"]


def test_black_and_white_is_the_runs_own_draw(run, runs):
    opened = open_run(runs["binary"], "numpy")
    rng = sv.train.streams(0).test
    expected = report(opened.model, opened.test_images(), rng, 20, 5)
    found = json.loads(run("binary", "--json", "--nll-samples", "20", "--nll-images", "5"))
    assert found["binarized"] and found["test"] == expected and found["test"]["binary_pixels"]
    table = rows(run("binary", "--nll-samples", "20", "--nll-images", "5"))
    assert table["data"] == ["mnist: 20 test images, binarized with the random draw of the run"]
    for samples, name in (("1", "1 sample"), ("10", "10 samples"), ("20", "20 samples")):
        nll = expected["nll"][samples]
        assert table[f"-log p(x), {name}"] == [
            f"{nll['value']:.2f} ± {nll['standard_error']:.2f}",
            "nats per image, 5 images across the list",
        ]


def test_grey_levels_have_a_likelihood_only_if_asked_for(run, refused):
    said = refused("grey", "--nll-samples", "5")
    assert "train with --binarize, or pass --grey-levels" in said
    table = rows(run("grey", "--nll-samples", "5", "--grey-levels"))
    assert table["-log p(x), 5 samples"][1] == "nats per image"


def test_an_autoencoder_has_errors_and_no_likelihood(run, refused):
    out = run("ae")
    assert set(rows(out)) == {
        "weights", "data", "engine", "measure", "mean squared error", "PSNR",
        "------------------",
    }  # fmt: skip
    assert out.splitlines()[-1].startswith("no likelihood: AE is not a VAE")
    assert "AE is not a VAE" in refused("ae", "--nll-samples", "5")


def test_a_collapse_is_a_warning(runs, capsys, monkeypatch):
    found = {"images": 2, "reconstruction": {"mse": 0.0, "psnr": None}, "warning": "z is silent"}
    monkeypatch.setattr(evaluate, "report", lambda *rest: found | {"binary_pixels": True})
    assert main(["evaluate", str(runs["grey"])]) == 0
    out, err = capsys.readouterr()
    assert rows(out)["PSNR"] == ["infinite", "dB"]
    assert rows(out)["data"] == ["mnist: 2 test images, already binary"]
    assert err.endswith("warning: z is silent\n")


def test_rows_of_other_models():
    """`skip` has one mu for all of z, and a squared error names its sigma."""
    error = {"mse": 0.25, "psnr": 6.02}
    effect = {"with_noise_for_z": 1e-7, "change": 2.8e-7, "variance": 0.05}
    found = {"images": 500, "kl": 0.1, "kl_per_dimension": [0.1], "active_units": 0}
    found |= {"neg_elbo": {"value": 1.0, "standard_error": 0.5}, "decoder_sigma": 1.239}
    table = [*evaluate.measures(found | {"reconstruction": error, "effect_of_z": effect})]
    assert [row[0] for row in table[:3]] == ["-ELBO", "KL", "active units"]
    density = "nats per image, density under a Gaussian decoder with sigma 1.24"
    assert table[0][1:] == ("1.00 ± 0.50", density)
    assert table[-2][:2] == ("change, random z", "2.8e-07")
    assert table[-3][2] == "z ~ N(0, I) instead of mu; 200 images across the list"


def test_the_result_goes_to_a_file_too(run, tmp_path):
    path = tmp_path / "evaluation.json"
    out = run("grey", "--out", str(path), "--json")
    assert json.loads(path.read_text()) == json.loads(out)
    assert os.listdir(tmp_path) == ["evaluation.json"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--nll-samples", "0"], "argument --nll-samples: must be above 0, got 0"),
        (["--nll-images", "5"], "--nll-images needs --nll-samples"),
        (["--grey-levels"], "--grey-levels needs --nll-samples"),
        (["--seed", "-1"], "argument --seed: must be 0 or more, got -1"),
        (
            ["--nll-samples", "5", "--nll-images", "1"],
            "argument --nll-images: must be 2 or more, got 1",
        ),
    ],
)
def test_refusals(refused, options, said):
    assert said in refused("binary", *options)


def test_a_result_may_lie_beside_the_files_of_the_run(run, runs):
    path = runs["grey"] / "evaluation.json"
    run("grey", "--out", str(path))
    path.unlink()


def test_data_that_moved_are_found_where_the_options_say(run, runs, refused, tmp_path):
    """The same images in another folder give the same numbers; if they are missing, one line."""
    expected = run("grey")
    digits = runs["grey"].parent / "digits"
    moved = digits.rename(tmp_path / "moved")
    try:
        assert run("grey", "--data-dir", str(moved)) == expected
        other = run("grey", "--data", "fashion-mnist", "--data-dir", str(moved))
        assert rows(other)["data"][0].startswith("fashion-mnist: 20 test images")
        assert "nowhere" in refused("grey", "--data-dir", str(tmp_path / "nowhere"))
        assert "unknown data set 'minst'" in refused("grey", "--data", "minst")
    finally:
        moved.rename(digits)


def test_no_run_is_one_line(refused, tmp_path):
    assert refused("nowhere").endswith(f"{tmp_path} is not a run: it has no config.json")


# --- Parts, and a line for each image ------------------------------------------------------------


def lines_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [*csv.DictReader(file)]


@pytest.mark.parametrize("name", ["grey", "binary", "ae"])
@pytest.mark.parametrize(("part", "count"), [("test", 20), ("train", 60), ("all", 80)])
def test_the_numbers_of_the_images_agree_with_the_table(run, tmp_path, name, part, count):
    path = tmp_path / "images.csv"
    options = [] if part == "test" else ["--part", part]
    found = json.loads(run(name, "--per-image", str(path), "--json", *options))
    lines, total = lines_of(path), found[part]
    assert found["part"] == part and total["images"] == count == len(lines)
    expected = [*map(str, range(60))] * (part != "test") + [*map(str, range(20))] * (
        part != "train"
    )
    assert [line["image"] for line in lines] == expected

    def mean(column):
        return np.mean([float(line[column]) for line in lines])

    if name == "ae":
        assert [*lines[0]] == ["image", "reconstruction", "part"]
        assert mean("reconstruction") == pytest.approx(total["reconstruction"]["mse"], rel=1e-6)
        return
    assert [*lines[0]] == ["image", "neg_elbo", "reconstruction", "kl", "part"]
    assert mean("neg_elbo") == pytest.approx(total["neg_elbo"]["value"], rel=1e-12)
    assert mean("kl") == pytest.approx(total["kl"], rel=1e-6)
    assert mean("reconstruction") + mean("kl") == pytest.approx(mean("neg_elbo"))
    out = run(name, *options)
    what = {"test": "test images", "train": "training images", "all": "images"}[part]
    assert f"mnist: {count} {what}, " in out


NAMES = ["plain.png", 'a,b\n"c".png', "$x_y$.png", "\udcff\udce9.png", "漢字/кириллица.png"]


def named(run_folder, names):
    """The run's data set, with a name for each test image."""
    data = open_run(run_folder, "numpy").load_data()
    count = len(names)
    return replace(
        data, test_images=data.test_images[:count], test_labels=data.test_labels[:count],
        test_names=names, classes=[f"class \udcff {i}" for i in range(10)],
    )  # fmt: skip


def test_any_name_of_a_file_can_be_written(run, runs, tmp_path, monkeypatch):
    data = named(runs["grey"], NAMES)
    monkeypatch.setattr("scratchvae.runs.run.Run.load_data", lambda self: data)
    monkeypatch.setattr("scratchvae.runs.run.Run.test_images", lambda self: data.test_images)
    path = tmp_path / "images.csv"
    run("grey", "--per-image", str(path))
    written = [line["image"] for line in lines_of(path)]
    assert written == [name.encode("utf-8", "backslashreplace").decode() for name in NAMES]
    assert written[3] == r"\udcff\udce9.png"


@pytest.mark.parametrize("lost", ["out.json", "images.csv"])
def test_a_result_that_cannot_be_written_is_printed(runs, tmp_path, monkeypatch, capsys, lost):
    written = evaluate.write_atomically

    def full(path, content):
        if path.name == lost:
            raise OSError(28, "No space left on device", str(path))
        written(path, content)

    monkeypatch.setattr(evaluate, "write_atomically", full)
    files = ["--out", str(tmp_path / "out.json"), "--per-image", str(tmp_path / "images.csv")]
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(runs["grey"]), "--engine", "numpy", *files])
    out, err = capsys.readouterr()
    assert end.value.code == 2 and "-ELBO" in rows(out)
    assert err.splitlines()[-1].endswith(f"{lost}: No space left on device")
    assert lost not in os.listdir(tmp_path)


@pytest.mark.parametrize("option", [[], ["--per-image", "x.csv"], ["--json"]])
@pytest.mark.parametrize("part", ["test", "train", "validation"])
def test_a_single_image_is_one_line(refused, monkeypatch, tmp_path, part, option):
    few = np.zeros((3, 28, 28), "uint8")
    counts = {"train": 3, "test": 3, "validation": 3} | {part: 1}
    images = {f"{name}_images": few[:count] for name, count in counts.items()}
    monkeypatch.setattr(
        "scratchvae.runs.run.load_data", lambda *_: sv.data.Dataset("few", **images)
    )
    monkeypatch.setattr("scratchvae.runs.run.same_data", lambda *_: True)
    monkeypatch.chdir(tmp_path)
    said = refused("grey", "--part", part, "--anyway", *option)
    name = "training" if part == "train" else part
    assert f"mnist has 1 {name} image, but evaluate needs at least 2: choose --part all" in said
    assert not any(tmp_path.iterdir())


def test_a_part_without_images_is_one_line(refused, runs, monkeypatch):
    data = open_run(runs["grey"], "numpy").load_data()
    empty = replace(data, train_images=data.train_images[:0])
    monkeypatch.setattr("scratchvae.runs.run.Run.load_data", lambda self: empty)
    assert "--part train: mnist has no such images" in refused("grey", "--part", "train")
    assert refused("grey", "--part", "validation").endswith("mnist has no such images")


def test_validation_images_of_a_share_are_training_images_here(refused, runs, monkeypatch):
    opened = open_run(runs["grey"], "numpy")
    opened = replace(opened, config=replace(opened.config, validation=0.1))
    monkeypatch.setattr(options, "open_run", lambda *rest: opened)
    said = refused("grey", "--part", "validation")
    assert said.endswith("no such images; those that --validation held out are in --part train")


@pytest.mark.parametrize(
    ("trained_on", "named", "kept"),
    [
        ("images:a", "images:b", True),
        ("arrays:a.npy", "arrays:b.npz", True),
        ("images:a", "arrays:b.npy", False),
        ("arrays:a.npy", "images:b", False),
        ("images:a", "mnist", False),
        ("celeba", "images:b", False),
        ("python:a", "arrays:b.npy", False),
    ],
)
def test_range_and_background_belong_to_a_kind_of_data(runs, monkeypatch, trained_on, named, kept):
    opened, own = open_run(runs["grey"], "numpy"), {"value_range": "0,1", "background": "black"}
    opened = replace(opened, config=replace(opened.config, data=trained_on, **own))
    monkeypatch.setattr(options, "open_run", lambda *rest: opened)
    words = ["evaluate", str(runs["grey"]), "--data", named]
    found = options.open_for(make_parser().parse_args(words)).config
    assert (found.value_range, found.background) == (("0,1", "black") if kept else (None, None))
    words += ["--value-range", "0,9", "--background", "white"]
    found = options.open_for(make_parser().parse_args(words)).config
    assert (found.value_range, found.background) == ("0,9", "white")


# --- encode --------------------------------------------------------------------------------------


@pytest.fixture
def encoded(runs, tmp_path, capsys):
    """Run `encode`; return the arrays."""

    def encode(name, *options):
        path = tmp_path / "new" / "codes.npz"
        path.parent.mkdir()
        words = ["encode", str(runs[name]), "--engine", "numpy", "--out", str(path), *options]
        assert main(words) == 0
        assert capsys.readouterr().out.startswith(f"{path}: ")
        assert os.listdir(path.parent) == ["codes.npz"]
        with np.load(path) as found:
            arrays = dict(found)
        path.unlink()
        path.parent.rmdir()
        return arrays

    return encode


@pytest.mark.parametrize("name", ["grey", "binary", "ae"])
def test_codes_of_all_images(encoded, runs, name):
    found, opened = encoded(name), open_run(runs[name], "numpy")
    data, model = opened.load_data(), opened.model
    names = ["z"] if name == "ae" else ["mu", "logvar"]
    assert [*found] == [*names, "labels", "part"]
    assert [*found["part"]] == ["train"] * 60 + ["test"] * 20
    np.testing.assert_array_equal(found["labels"], [*data.train_labels, *data.test_labels])
    x = opened.test_images()[:, None].astype("float32") / np.float32(255)
    expected = model.embed(x) if name == "ae" else model.encode(x)[:2]
    for code, right in zip(names, [expected] if name == "ae" else expected, strict=True):
        assert found[code].shape == (80, 2) and found[code].dtype == "float32"
        np.testing.assert_allclose(found[code][60:], right, atol=1e-5)
    test = encoded(name, "--part", "test")
    np.testing.assert_array_equal(test[names[0]], found[names[0]][60:])


def test_codes_have_the_names_of_files_and_classes(encoded, runs, monkeypatch):
    data = named(runs["grey"], NAMES)
    monkeypatch.setattr("scratchvae.runs.run.Run.load_data", lambda self: data)
    monkeypatch.setattr("scratchvae.runs.run.Run.test_images", lambda self: data.test_images)
    found = encoded("grey", "--part", "test")
    assert [*found["names"][:3]] == NAMES[:3] and found["names"][3] == r"\udcff\udce9.png"
    assert found["classes"][3] == r"class \udcff 3"
    everything = encoded("grey")
    assert [*everything["names"][:2]] == ["0", "1"] and everything["names"][60] == "plain.png"


@pytest.mark.parametrize("name", ["grey", "binary"])
def test_the_users_validation_images_are_a_part(encoded, run, runs, monkeypatch, tmp_path, name):
    data = open_run(runs[name], "numpy").load_data()
    before = encoded(name)
    data = replace(
        data,
        train_images=data.train_images[7:],
        train_labels=data.train_labels[7:],
        validation_images=data.train_images[:7],
        validation_labels=data.train_labels[:7],
        validation_names=[f"{i}.png" for i in range(7)],
    )
    monkeypatch.setattr("scratchvae.runs.run.Run.load_data", lambda self: data)
    found = encoded(name)
    assert [*found["part"]] == ["train"] * 53 + ["validation"] * 7 + ["test"] * 20
    assert [*found["labels"][53:60]] == [*before["labels"][:7]]
    assert [*found["names"][52:55]] == ["52", "0.png", "1.png"]
    part = encoded(name, "--part", "validation")
    for key in ("mu", "labels", "names", "part"):
        np.testing.assert_array_equal(part[key], found[key][53:60], key)
    path = tmp_path / "images.csv"
    out = run(name, "--part", "validation", "--per-image", str(path))
    assert "mnist: 7 validation images, " in out
    assert [line["image"] for line in lines_of(path)] == data.validation_names
    data = replace(data, validation_labels=None)
    assert {*encoded(name)["labels"][53:60]} == {-1}, "-1: unknown"
