"""A run knows its files: config.json, checkpoints and weights name it, and edits are noticed.

What the commands do with files that do not fit is in tests/faults/identity.py.
"""

import json
import os
import shutil
import threading
from dataclasses import replace

import numpy as np
import pytest
from hostile import bounded, pipe
from runs.training import small_config, small_data
from safetensors import safe_open
from safetensors.numpy import load_file

import scratchvae as sv
from scratchvae.runs import RunFolder, open_run, resume, train
from scratchvae.runs.checkpoint import read_checkpoint
from scratchvae.runs.config import IDENTITY, Config, config_text, identities, read_config
from scratchvae.runs.lock import Lock, NotOurs


@pytest.fixture
def run(tmp_path):
    """A finished run on a data set of the user's."""
    train(small_config(epochs=1), small_data(), tmp_path / "run", lambda text: None)
    return RunFolder(tmp_path / "run")


def test_every_file_of_a_run_names_it(run):
    """The header of the weights names no path of this machine, and PyTorch reads the file."""
    _, about = run.read_config()
    assert len(about["id"]) == 32
    with safe_open(run.weights, "np") as file:
        texts = file.metadata()
    assert {name: texts[name] for name in IDENTITY} == run.identities[0]
    assert not any(os.sep in text for text in texts.values()), texts
    _, progress = read_checkpoint(run.all_checkpoints()[0])
    assert {name: progress[name] for name in IDENTITY} == run.identities[0]


def test_two_runs_with_the_same_options_have_different_names_and_the_same_weights(tmp_path, run):
    train(small_config(epochs=1), small_data(), tmp_path / "other", lambda text: None)
    other = RunFolder(tmp_path / "other")
    other.read_config()
    run.read_config()
    mine, theirs = run.identities[0], other.identities[0]
    assert [n for n in IDENTITY if mine[n] != theirs[n]] == ["run_id"]
    for name, a in load_file(run.weights).items():
        np.testing.assert_array_equal(a, load_file(other.weights)[name])


def test_a_change_of_any_option_is_noticed(run):
    config, about = run.read_config()
    text = run.config.read_text()
    others = {
        "epochs": 2, "batch_size": 5, "seed": 1, "lr": 0.5, "keep": 1, "dtype": "float64",
        "binarize": True, "validation": 0.1, "pictures": (1,), "lr_schedule": "cosine",
        "checkpoint_every": 7, "engine": "numba", "optimizer": "sgd", "clip_norm": 1.0,
    }  # fmt: skip
    for name, value in others.items():
        content = json.loads(text)
        content["options"][name] = value
        run.config.write_text(json.dumps(content))
        with pytest.raises(ValueError, match="was edited or is damaged"):
            run.read_config()
        # Also if the digest is right: the checkpoints know the options, too.
        run.config.write_text(config_text(replace(config, **{name: value}), about))
        with pytest.raises(ValueError, match=r"weights\.safetensors was written with other optio"):
            open_run(run.path, "numpy")
    run.config.write_text(text.replace("  ", "\t"))  # the same content
    assert run.read_config()[0] == config


def test_a_recipe_of_the_users_needs_no_digest(tmp_path, run):
    content = json.loads(run.config.read_text())
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"format": 3, "options": content["options"] | {"lr": 0.5}}))
    assert read_config(path)[0].lr == 0.5
    path.write_text(json.dumps({"format": 3, "options": {}}))
    assert read_config(path)[0] == Config()


def test_a_run_accepts_what_it_wrote_before_a_change(run):
    """It may be killed between writing config.json and the next checkpoint."""
    before, _ = run.read_config()
    first = run.identities[0]
    resume(run.path, lambda text: None, data=small_data(), epochs=3, lr=1e-4)
    after, about = run.read_config()
    assert run.identities[1:] == [first] and run.identities[0] != first
    now = about | {"changes": [*about["changes"], {"step": 9, "data_sha256": ["a", "b"]}]}
    assert [one["data_sha256"] for one in identities(after, now)] == [
        about["data"]["sha256"], "a", "a",
    ]  # fmt: skip
    assert identities(before, {}) == [{}]


@pytest.mark.slow
def test_copies_of_a_run_are_told_apart_by_their_changes(tmp_path, run):
    """Both end with the same options, but one changed them later."""
    copy = RunFolder(shutil.copytree(run.path, tmp_path / "copy"))
    for path, changes in (
        (run.path, [{"epochs": 4, "lr": 1e-4}]),
        (copy.path, [{"epochs": 3}, {"epochs": 4, "lr": 1e-4}]),
    ):
        for change in changes:
            resume(path, lambda text: None, data=small_data(), **change)
    assert read_config(run.config)[0] == read_config(copy.config)[0]
    run.weights.write_bytes(copy.weights.read_bytes())
    with pytest.raises(ValueError, match="was written with other options than those in config"):
        open_run(run.path, "numpy")


@pytest.mark.parametrize("name", ["metrics.json", "weights.safetensors", "history.csv", "lock"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_the_training(tmp_path, name):
    (tmp_path / "run" / name).mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=f"{name} is a folder, where a file of the run"):
        train(small_config(), small_data(), tmp_path / "run", lambda text: None)


def test_pictures_are_not_drawn_through_links(tmp_path, run):
    (tmp_path / "mine.png").write_bytes(b"mine")
    (run.path / "loss.png").unlink()
    (run.path / "loss.png").symlink_to(tmp_path / "mine.png")
    with pytest.raises(OSError, match="is a link to"):
        resume(run.path, lambda text: None, data=small_data(), epochs=2)
    assert (tmp_path / "mine.png").read_bytes() == b"mine"


def test_weights_of_a_run_without_an_id_are_compared_by_their_options(run):
    """Runs of version 0.1 have no id, but the header of their weights has all options."""
    config, _ = run.read_config()
    content = {"format": 2, "options": config.to_json(), "run": {}}
    run.config.write_text(json.dumps(content))
    texts = {name: value for name, value in config.to_json().items() if value is not None}
    model = sv.models.build("mlp", **config.model_options())
    sv.save_weights(model, run.weights, **texts)
    open_run(run.path, "numpy")
    sv.save_weights(model, run.weights, **texts | {"seed": 5})
    with pytest.raises(ValueError, match="was written with seed 5, but config.json has 0"):
        open_run(run.path, "numpy")


def test_weights_and_metrics_of_different_trainings_are_a_warning(run, capsys):
    old = run.weights.read_bytes()
    resume(run.path, lambda text: None, data=small_data(), epochs=2)
    run.weights.write_bytes(old)
    open_run(run.path, "numpy")
    assert "is of a training of 3 steps, metrics.json of one of 6" in capsys.readouterr().err


def test_a_pipe_as_config_is_refused_at_once(tmp_path):
    with bounded(), pytest.raises(ValueError, match=r"config\.json: not a file"):
        read_config(pipe(tmp_path / "config.json"))


def test_a_lock_that_was_replaced_is_noticed(tmp_path):
    """Also without locks of the file system: the last process that writes into it owns it."""
    with Lock(tmp_path / "lock") as lock:
        lock.check()
        with pytest.raises(RuntimeError, match=f"PID {os.getpid()}. is training"):
            Lock(tmp_path / "lock").__enter__()
        content = (tmp_path / "lock").read_bytes()
        (tmp_path / "lock").write_bytes(content[:-3] + b"00\n")
        with pytest.raises(NotOurs, match="another run or process has taken this folder"):
            lock.check()
    with Lock(tmp_path / "lock") as lock:
        (tmp_path / "lock").unlink()
        (tmp_path / "lock").write_bytes(content)
        with pytest.raises(NotOurs, match="or its lock was deleted"):
            lock.check()


@pytest.mark.parametrize(
    "engines",
    [
        pytest.param(("numpy", "numpy"), marks=pytest.mark.slow),
        pytest.param(("numba", "numba"), marks=pytest.mark.slow),
        ("numpy", "numba"),
    ],
)
def test_two_threads_train_as_each_alone_or_one_is_refused(tmp_path, engines):
    """All threads share one engine."""
    both_train, refused = threading.Barrier(2), []

    def work(seed, name, meet):
        def say(text):
            if meet and text.startswith("epoch  1"):
                both_train.wait(60)

        config = small_config(epochs=3, engine=engines[seed], seed=seed)
        try:
            train(config, small_data(), tmp_path / name, say, bar=False)
        except RuntimeError as problem:
            refused.append(str(problem))
            both_train.abort()

    threads = [threading.Thread(target=work, args=(n, f"together-{n}", True)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if engines[0] != engines[1]:
        assert "another thread is using the engine" in refused[0]
        return
    assert not refused
    for n in (0, 1):
        work(n, f"alone-{n}", False)
        alone, together = (
            load_file(tmp_path / f"{way}-{n}/weights.safetensors") for way in ("alone", "together")
        )
        for name, a in alone.items():
            np.testing.assert_array_equal(a, together[name])
