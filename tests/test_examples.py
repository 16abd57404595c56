"""The examples, run as a reader runs them."""

import functools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from idx_files import write_digits
from PIL import Image
from safetensors.numpy import load_file

import scratchvae as sv

ROOT = Path(__file__).resolve().parents[1]
PICTURES = {"loss.png", "reconstructions.png", "samples.png", "interpolation.png"}
FILES = {"config.json", "history.csv", "metrics.json", "weights.safetensors"}


@pytest.fixture
def data_dir(tmp_path):
    """Three hundred training and fifty test images in the format of MNIST."""
    return write_digits(tmp_path / "data", 300, 50)


@pytest.fixture
def image_dir(tmp_path):
    """Forty colour images: a bright disc somewhere on a dark ground."""
    folder = tmp_path / "images"
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:70, :80]
    for i in range(40):
        disc = np.hypot(y - rng.uniform(20, 50), x - rng.uniform(20, 60)) < rng.uniform(8, 20)
        pixels = np.where(disc[..., None], rng.integers(128, 256, 3), rng.integers(0, 128, 3))
        Image.fromarray(pixels.astype("uint8")).save(folder / f"{i}.png")
    return folder


def run(tmp_path, *arguments, example="mnist_vae", warnings="error", status=0):
    """Run an example in `tmp_path`; its output on stdout, or on stderr if it ends with 2."""
    environment = {k: v for k, v in os.environ.items() if k != "SCRATCHVAE_DATA"}
    environment |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, "-W", warnings, str(ROOT / f"examples/{example}.py"), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    assert status or example != "mnist_vae" or done.stderr == ""
    return done.stderr if status else done.stdout


def run_here(tmp_path, monkeypatch, example, *arguments):
    """Run an example in `tmp_path`, in this process; its results are in `out`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [f"{example}.py", *arguments, "--out", "out"])
    runpy.run_path(str(ROOT / f"examples/{example}.py"), run_name="__main__")


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run an example that ends with status 2, in this process, because a new one must import
    everything. Returns the last line that it prints; an exception fails the test."""

    def run_here(*arguments, example="mnist_vae"):
        monkeypatch.chdir(tmp_path)
        monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.syspath_prepend(str(ROOT / "examples"))
        file = str(ROOT / f"examples/{example}.py")
        monkeypatch.setattr(sys, "argv", [file, *arguments])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(file, run_name="__main__")
        assert end.value.code == 2
        return capsys.readouterr().err.splitlines()[-1]

    return run_here


SLOW = pytest.mark.slow
WITH_PACKAGE = [p for p in (ROOT / "examples").glob("*.py") if p.stem != "minimal_vae"]


@pytest.mark.parametrize("path", WITH_PACKAGE, ids=lambda path: path.stem)
def test_examples_print_with_what_never_fails(path):
    """A `print` that fails would lose the work."""
    assert not re.findall(r"(?<!\w)print\(", path.read_text())


@SLOW
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_a_name_that_the_terminal_lacks_loses_no_work(tmp_path, data_dir, monkeypatch, encoding):
    monkeypatch.setenv("PYTHONIOENCODING", f"{encoding}:strict")
    arguments = ["--data-dir", str(data_dir), "--epochs", "1", "--out", "Лица"]
    said = run(tmp_path, *arguments, example="tiny_vae")
    assert said.endswith("are in \\u041b\\u0438\\u0446\\u0430\n")
    assert (tmp_path / "Лица/metrics.json").exists()


def test_fewer_images_than_the_folder_has(tmp_path, refused, monkeypatch, image_dir):
    """A folder has a name for each image; --images leaves some of them out."""
    monkeypatch.setattr(sv.models, "build", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    arguments = ["--data-dir", str(image_dir), "--images", "5", "--engine", "numpy"]
    assert refused(*arguments, example="skip_vae").startswith("skip_vae.py: error: ")
    config = json.loads((tmp_path / "runs/skip/all/config.json").read_text())
    assert config["run"]["data"]["train_images"] == 5


@pytest.mark.parametrize("model", ["mlp", *(pytest.param(m, marks=SLOW) for m in ("conv", "ae"))])
def test_a_run_leaves_pictures_weights_and_numbers(tmp_path, data_dir, model):
    out = tmp_path / "out"
    said = run(
        tmp_path, "--model", model, "--epochs", "2", "--latent-dim", "2", "--seed", "3",
        "--data-dir", str(data_dir), "--engine", "numpy", "--out", str(out),
    )  # fmt: skip
    assert set(os.listdir(out)) == PICTURES | FILES | {"manifold.png"}
    for picture in PICTURES | {"manifold.png"}:
        assert np.asarray(Image.open(out / picture)).std() > 1

    metrics = metrics_of(out)
    assert metrics["model"] == model and len(metrics["history"]) == 2
    first, last = (epoch["test_total"] for epoch in metrics["history"])
    last_line = said.splitlines()[-1]
    if model == "ae":
        assert metrics["test_neg_elbo"] is None and last < first
        assert last_line.startswith(f"test squared error {last:.2f} per image")
    else:
        assert metrics["test_neg_elbo"] == pytest.approx(last, rel=1e-6) and last < first
        assert metrics["test"]["neg_elbo"]["value"] == pytest.approx(last, rel=0.1)  # other noise
        assert last_line.startswith(f"test -ELBO {last:.2f} nats per image, one sampled z each")
    assert last_line.endswith(f"are in {out}")

    opened = sv.runs.open_run(out, "numpy")
    assert (opened.config.model, opened.config.seed, opened.config.epochs) == (model, 3, 2)
    assert opened.config.engine == "numpy" and opened.test_images().shape == (50, 28, 28)
    state = load_file(out / "weights.safetensors")
    assert {n: a.tobytes() for n, a in opened.model.state_dict().items()} == {
        n: a.tobytes() for n, a in state.items()
    }
    fresh = sv.models.build(model, latent_dim=2, seed=3)
    assert not np.array_equal(opened.model.flat_value, fresh.flat_value)


@SLOW
def test_the_commands_look_at_what_an_example_leaves(tmp_path, data_dir):
    arguments = ["--epochs", "1", "--latent-dim", "2", "--data-dir", "data", "--engine", "numpy"]
    run(tmp_path, *arguments, "--out", "out")
    for command in ("evaluate", "reconstruct", "sample", "interpolate", "traverse", "manifold"):
        words = [sys.executable, "-m", "scratchvae", command, "out", "--engine", "numpy"]
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    pictures = {"reconstruct.png", "sample.png", "interpolate.png", "traverse.png"}
    assert set(os.listdir(tmp_path / "out/pictures")) >= pictures | {"manifold.png"}


@pytest.mark.parametrize("example", ["mnist_vae", "tiny_vae", "autoencoder_vs_vae"])
def test_on_the_gpu(tmp_path, monkeypatch, cupy_on_host, example):
    write_digits(tmp_path / "data", 40, 20)
    arguments = ["--engine", "cuda", "--epochs", "1", "--batch-size", "16", "--data-dir", "data"]
    run_here(tmp_path, monkeypatch, example, *arguments)
    (config,) = {*(tmp_path / "out").rglob("config.json")} - {tmp_path / "out/ae/config.json"}
    assert json.loads(config.read_text())["options"]["engine"] == "cuda"


def test_an_example_replaces_its_own_results_but_no_run_of_train(tmp_path, data_dir):
    """An interrupted second run leaves no weights of the first beside its own options."""
    config, data = sv.runs.Config(model="ae", engine="numpy"), sv.data.load("mnist", data_dir)
    with sv.using("numpy"):
        model = sv.models.build("ae")
        files = sv.runs.begin(tmp_path / "out", config, data)
        losses = sv.train.evaluate_deterministic(model, data.test_images)
        history = [sv.train.history_line(losses, losses)]
        sv.runs.save_results(files, model, data.test_images, history)
        assert files.weights.exists() and files.metrics.exists()
        sv.runs.begin(tmp_path / "out", sv.runs.Config(), data)
    assert os.listdir(tmp_path / "out") == ["config.json"]
    files.checkpoints.mkdir()
    with files.locked():  # as a refused `train --resume` leaves it
        pass
    sv.runs.begin(tmp_path / "out", config, data)
    files.checkpoint(1).touch()  # of a run that `train --resume` has begun again
    new = sv.runs.RunFolder(tmp_path / "new")  # of `train`, before its first checkpoint
    new.make()
    new.begin(config, {})
    for run in (files, new):
        before = run.config.read_bytes()
        with pytest.raises(FileExistsError, match="contains a run of `scratchvae train`"):
            sv.runs.begin(run.path, config, data)
        assert run.config.read_bytes() == before


def test_the_digits_that_stand_in_for_mnist_are_named_in_the_config(tmp_path):
    glyphs = sv.data.load_glyphs(0, 4, 2, tmp_path)
    files = sv.runs.begin(tmp_path / "out", sv.runs.Config(data="mnist"), glyphs)
    assert files.read_config()[0].data == "glyphs"


@SLOW
def test_same_seed_same_numbers(tmp_path, data_dir):
    metrics = []
    for out, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        arguments = ["--epochs", "1", "--data-dir", str(data_dir), "--out", out, "--seed", seed]
        run(tmp_path, "--engine", "numpy", *arguments)
        metrics.append(metrics_of(tmp_path / out))
    assert metrics[0] == metrics[1]
    assert metrics[0]["test_neg_elbo"] != metrics[2]["test_neg_elbo"]


@SLOW
def test_the_elbo_counts_kl_once_whatever_beta(tmp_path, data_dir):
    arguments = ["--beta", "4", "--epochs", "1", "--data-dir", str(data_dir), "--engine", "numpy"]
    run(tmp_path, *arguments)
    metrics = metrics_of(tmp_path / "runs/mnist")
    (last,) = metrics["history"]
    recon, kl = last["test_reconstruction"], last["test_kl"]
    assert metrics["test_neg_elbo"] == pytest.approx(recon + kl)
    assert last["test_total"] == pytest.approx(recon + 4 * kl, rel=1e-6)


@SLOW
@pytest.mark.parametrize("example", ["mnist_vae", "tiny_vae", "autoencoder_vs_vae"])
def test_a_run_that_diverges_stops_and_says_so(tmp_path, data_dir, example):
    arguments = ["--lr", "1e6", "--data-dir", str(data_dir), "--engine", "numpy"]
    *_, message = run(
        tmp_path, *arguments, example=example, warnings="ignore", status=2
    ).splitlines()
    assert message.startswith(f"{example}.py: error: the loss ") and "smaller" in message
    assert not [*tmp_path.rglob("mlp/weights.safetensors"), *tmp_path.glob("runs/*/weights*")]


@SLOW
def test_a_loss_that_is_infinite_only_on_the_test_images(tmp_path, data_dir):
    """The one step of the epoch is the first to spoil the weights."""
    arguments = ["--model", "ae", "--lr", "1e38", "--batch-size", "300", "--epochs", "1"]
    arguments += ["--data-dir", str(data_dir), "--engine", "numpy"]
    said = run(tmp_path, *arguments, warnings="ignore", status=2)
    assert "mnist_vae.py: error: the loss is" in said


@SLOW
def test_ctrl_c_ends_it_with_one_line(tmp_path, data_dir):
    arguments = ["--epochs", "100000", "--data-dir", str(data_dir), "--engine", "numpy"]
    command = [sys.executable, str(ROOT / "examples/mnist_vae.py"), *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True
    ) as process:
        assert process.stdout.readline().startswith("mlp: ")
        assert process.stdout.readline().startswith("epoch  1")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.splitlines()[-1] == "mnist_vae.py: interrupted: no results are saved"


@SLOW
@pytest.mark.parametrize("count", [1, 3])
def test_few_test_images(tmp_path, count):
    folder = write_digits(tmp_path / "few", 30, count)
    arguments = ["--epochs", "1", "--data-dir", str(folder), "--engine", "numpy", "--out", "out"]
    run(tmp_path, *arguments)
    assert (tmp_path / "out/interpolation.png").exists() == (count > 1)


@SLOW
def test_tiny(tmp_path, data_dir):
    out = tmp_path / "out"
    arguments = ["--data-dir", str(data_dir), "--latent-dim", "2", "--epochs", "2"]
    said = run(tmp_path, *arguments, "--out", str(out), example="tiny_vae")
    assert "Total params: 12,641\n" in said
    metrics = metrics_of(out)
    assert f"test -ELBO {metrics['test_neg_elbo']:.2f} nats per image" in said
    assert metrics["model"] == "tiny"
    assert set(os.listdir(out)) >= PICTURES | {"manifold.png"}
    sv.models.build("tiny", latent_dim=2).load_state_dict(load_file(out / "weights.safetensors"))


@SLOW
def test_autoencoder_vs_vae(tmp_path, data_dir):
    out = tmp_path / "out"
    arguments = ["--data-dir", str(data_dir), "--epochs", "1", "--out", str(out)]
    said = run(tmp_path, *arguments, example="autoencoder_vs_vae")
    assert set(os.listdir(out)) == {"samples.png", "ae", "mlp"}
    for name in ("ae", "mlp"):
        assert set(os.listdir(out / name)) == FILES
        assert sv.runs.open_run(out / name, "numpy").config.model == name
    assert np.asarray(Image.open(out / "samples.png")).std() > 1
    codes = [line for line in said.splitlines() if line.startswith("codes of the test")]
    assert ["autoencoder" in line for line in codes] == [True, False]


@SLOW
def test_celeba(tmp_path, image_dir):
    out = tmp_path / "out"
    arguments = ["--data-dir", str(image_dir), "--epochs", "1", "--batch-size", "12"]
    said = run(tmp_path, *arguments, "--out", str(out), example="celeba_vae")
    assert "images:images: 36 training and 4 test images; losses in mean squared err" in said
    assert "KL weight 0.00025 is beta 1.536 for a decoder of unit variance\n" in said
    metrics = metrics_of(out)
    error = 4 * metrics["test"]["reconstruction"]["mse"]  # of images from -1 to 1, not 0 to 1
    assert f"test mean squared error {error:.5f} at z = mu (images:images)" in said
    assert metrics["model"] == "celeba" and "test_neg_elbo" not in metrics  # it is not in nats
    opened = sv.runs.open_run(out, "numpy")
    assert opened.config.data == f"images:{image_dir}" and len(opened.test_images()) == 4
    for picture in PICTURES:
        assert np.asarray(Image.open(out / picture)).std() > 1
    model = sv.models.build("celeba")
    model.load_state_dict(load_file(out / "weights.safetensors"))
    assert model.state_dict()["encoder.0.1.num_batches_tracked"] == 3


@SLOW
def test_gradient_check(tmp_path):
    """Every table says ok, the slip is found, and the picture is drawn."""
    out = tmp_path / "run"
    said = run(tmp_path, "--out", str(out), example="gradient_check")
    rows = [line for line in said.splitlines() if line.endswith("  ok")]
    assert len(rows) == 5 + 11 + 2
    assert "softmax: the gradient of x, shape (3, 5), is wrong\n    at x[" in said
    assert len(np.unique(np.asarray(Image.open(out / "softmax-step.png")))) > 20


@SLOW
def test_skip(tmp_path, image_dir):
    out = tmp_path / "out"
    arguments = ["--data-dir", str(image_dir), "--epochs", "1", "--images", "20"]
    said = run(tmp_path, *arguments, "--out", str(out), example="skip_vae")
    *_, a, b, c, _, _, _ = said.splitlines()
    leaks = {line.split()[0]: [float(word) for word in line.split()[1:]] for line in (a, b, c)}
    assert set(leaks) == {"all", "deep", "none"}
    assert all(len(numbers) == 3 for numbers in leaks.values())
    assert set(os.listdir(out)) == {"leak.png", "metrics.json", "all", "deep", "none"}
    assert sv.runs.open_run(out / "deep", "numpy").config.skips == "deep"
    metrics = metrics_of(out)
    for skips, numbers in leaks.items():
        *expected, variance = metrics[skips].values()
        assert numbers == pytest.approx(expected, rel=0.06, abs=1e-5) and variance > 0
    assert np.asarray(Image.open(out / "leak.png")).std() > 1


@pytest.mark.parametrize("example", ["celeba_vae", "skip_vae"])
def test_a_folder_without_images_is_an_error(tmp_path, refused, example):
    said = refused("--data-dir", str(tmp_path), example=example)
    assert said.startswith(f"{example}.py: error: {tmp_path}: expected at least 2 images")


@SLOW
def test_a_folder_of_two_images_is_enough(tmp_path, image_dir):
    for path in sorted(image_dir.iterdir())[2:]:
        path.unlink()
    Image.new("RGB", (64, 64)).save(image_dir / "2.png")
    arguments = ["--data-dir", str(image_dir), "--epochs", "1", "--out", str(tmp_path / "out")]
    run(tmp_path, *arguments, example="celeba_vae")
    assert set(os.listdir(tmp_path / "out")) >= PICTURES - {"interpolation.png"}


@SLOW
def test_without_data_faces_are_drawn(tmp_path, monkeypatch, capsys):
    """On a fresh machine: two epochs, and the losses fall. A tenth of the faces is enough."""
    load = sv.data.load_faces
    assert load.__defaults__[:3] == (0, 8_000, 1_000)
    few = functools.partial(load, train_count=800, test_count=100, cache_dir=tmp_path)
    monkeypatch.setattr(sv.data, "load_faces", few)
    run_here(tmp_path, monkeypatch, "celeba_vae", "--epochs", "2", "--engine", "numba")
    assert "; faces: 800 training and 100 test images" in capsys.readouterr().out
    history = metrics_of(tmp_path / "out")["history"]
    for loss in ("train_total", "test_total", "train_reconstruction", "test_reconstruction"):
        assert history[1][loss] < history[0][loss]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "mnist_vae.py: error: epochs must be at least 1, got 0"),
        (["--lr", "nan"], "lr must be a number, got nan"),
        (["--batch-size", "x"], "argument --batch-size: invalid int value: 'x'"),
        (["--beta", "-1"], "beta must be at least 0, got -1"),
        (["--seed", "-1"], "seed must be at least 0, got -1"),
        (["--model", "ae", "--beta", "2"], "beta: the model ae has no kl_weight"),
        (["--dataset", "faces"], "argument --dataset: invalid choice: 'faces'"),
        (["--data-dir", "nowhere"], "mnist is not in nowhere: there is no such folder"),
        (["--engine", "cuda"], "CuPy"),
        (["--data-dir", "data", "--out", "/dev/null/x"], "/dev/null/x"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(tmp_path, data_dir, refused, arguments, message):
    assert message in refused(*arguments)
    assert not (tmp_path / "runs").exists()
