"""`scratchvae train` as users call it, in this process, on three hundred tiny digits."""

import csv
import json
import re
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_examples import data_dir  # noqa: F401  (a fixture)

from scratchvae.__main__ import main
from scratchvae.commands import train
from scratchvae.runs import open_run
from scratchvae.runs.trainer import Trainer

OPTIONS = ["--engine", "numpy", "--epochs", "2", "--latent-dim", "2"]
FILES = {"config.json", "history.csv", "metrics.json", "weights.safetensors", "checkpoints"}


@pytest.fixture
def scratchvae(tmp_path, monkeypatch, data_dir, capsys):  # noqa: F811
    """Call the command; return its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)

    def call(*arguments):
        if "--resume" not in arguments and "--config" not in arguments:
            arguments = (*OPTIONS, "--data-dir", str(data_dir), *arguments)
        try:
            status = main(["train", *arguments])
        except SystemExit as end:
            status = end.code
        return status, *capsys.readouterr()

    return call


def test_a_run_prints_a_line_an_epoch_and_leaves_its_files(scratchvae, tmp_path):
    status, out, err = scratchvae("mlp")
    assert (status, err) == (0, "")
    first, *epochs, last = out.splitlines()
    assert first.startswith("mlp: ") and "engine numpy; mnist: 300 training images, " in first
    assert [line[:8] for line in epochs] == ["epoch  1", "epoch  2"]
    assert last == "done: weights, metrics.json and pictures are in runs/mlp"
    folder = tmp_path / "runs/mlp"
    assert {path.name for path in folder.iterdir()} >= FILES | {"samples.png", "loss.png"}

    metrics = json.loads((folder / "metrics.json").read_text())
    with open(folder / "history.csv", newline="") as file:
        rows = [{n: float(text) for n, text in row.items()} for row in csv.DictReader(file)]
    assert [row.pop("epoch") for row in rows] == [1, 2]
    assert rows == metrics["history"]

    run = open_run(folder, engine="numpy")
    assert not run.model.training and run.weights == folder / "weights.safetensors"
    for name, a in load_file(folder / "weights.safetensors").items():
        np.testing.assert_array_equal(run.model.state_dict()[name], a)
    assert len(run.test_images()) == 50
    assert run.config.engine == "numpy"  # the engine that was used, not "auto"

    status, out, err = scratchvae("mlp")
    assert (status, out) == (2, "") and err.count("\n") == 1
    assert "runs/mlp already contains a run: continue it with --resume runs/mlp" in err


def test_a_config_makes_the_same_run_again_and_options_change_it(scratchvae, tmp_path, monkeypatch):
    scratchvae("mlp", "--epochs", "1", "--kl-schedule", "linear", "--binarize", "--quiet")
    again = ("--config", "runs/mlp/config.json", "--out")
    assert scratchvae(*again, "again", "--quiet") == (0, "", "")
    one, same = (
        load_file(tmp_path / folder / "weights.safetensors") for folder in ("runs/mlp", "again")
    )
    for name, a in one.items():
        np.testing.assert_array_equal(same[name], a)

    told = []  # another data set has another shape than the recorded one, and no split to keep
    path = tmp_path / "runs/mlp/config.json"
    options = json.loads(path.read_text())["options"] | {"split": "tail"}
    path.write_text(json.dumps({"format": 2, "options": options}))
    monkeypatch.setattr(train, "train", lambda config, *_: told.append(config) or {})
    assert scratchvae(*again, "other", "--data", "faces", "--seed", "1")[0] == 0
    (config,) = told
    assert (config.data, config.image_shape, config.seed) == ("faces", None, 1)
    assert config.split == "spread"
    assert (config.latent_dim, config.kl_schedule, config.binarize) == (2, "linear", True)

    assert scratchvae(*again, "grey", "--no-binarize")[0] == 0
    assert not told[1].binarize and told[1].kl_schedule == "linear" and told[1].split == "tail"


def test_json_is_all_there_is_on_standard_output(scratchvae, tmp_path):
    status, out, err = scratchvae("ae", "--epochs", "1", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["epochs_trained"] == 1


def test_a_stopped_run_opens_with_its_last_checkpoint_and_goes_on(
    scratchvae, tmp_path, monkeypatch
):
    """As after Ctrl-C in the second epoch."""
    scratchvae("mlp", "--out", "straight", "--quiet")
    step = Trainer.steps

    def interrupted(trainer):
        for _ in step(trainer):
            if trainer.step == 4:
                signal.raise_signal(signal.SIGINT)
            yield

    monkeypatch.setattr(Trainer, "steps", interrupted)
    status, out, err = scratchvae("mlp", "--out", "stopped")
    assert status == 130 and "to continue: scratchvae train --resume stopped" in err
    assert re.search("epoch  1", out) and not re.search("epoch  2", out)
    run = open_run(tmp_path / "stopped", engine="numpy")
    assert run.weights.name == "step-000000004.safetensors" and not run.model.training
    monkeypatch.setattr(Trainer, "steps", step)

    status, _, err = scratchvae("--resume", "stopped", "--seed", "1")
    assert status == 2 and "--seed cannot be used with --resume" in err
    status, _, err = scratchvae("--resume", "stopped", "--out", "x")
    assert status == 2 and "--out cannot be used with --resume" in err
    assert scratchvae("--resume", "stopped", "--quiet") == (0, "", "")
    straight, stopped = (
        load_file(tmp_path / folder / "weights.safetensors") for folder in ("straight", "stopped")
    )
    for name, a in straight.items():
        np.testing.assert_array_equal(stopped[name], a)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give a MODEL to train, --resume RUN or --config FILE"),
        (["mlp", "--config", "c"], "give a MODEL to train, --resume RUN or --config FILE"),
        (["--config", "nowhere.json"], "nowhere.json: No such file or directory"),
        (["--config", "data/train-images-idx3-ubyte.gz"], "idx3-ubyte.gz: not JSON"),
        (["--resume", "nowhere"], "nowhere is not a run"),
        (["mlp", "--lr", "nan"], "lr must be a number, got nan"),
        (["mlp", "--lr", "0"], "lr must be above 0, got 0.0"),
        (["mlp", "--data", "minst"], "unknown data set 'minst'; choose from mnist"),
        (["skip"], "skip has no latent_dim"),
        (["conv", "--kl-warmup", "3"], "kl_warmup applies only to kl_schedule linear"),
        (["celeba", "--epochs", "1"], "multiples of 32"),
        (["tiny", "--pictures", "1,x"], "expected numbers such as 3,14,15, got 1,x"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_folder(scratchvae, tmp_path, arguments, said):
    status, out, err = scratchvae(*arguments)
    assert (status, out) == (2, "")
    assert said in err.splitlines()[-1] and "Traceback" not in err
    assert not (tmp_path / "runs").exists()
