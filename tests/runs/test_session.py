"""Resuming a run, and the files at its end."""

import json
import os

import numpy as np
import pytest
from idx_files import write_digits
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file
from small_runs import trained, write_photographs

from scratchvae.runs import checkpoint, open_run, resume, session, trainer
from scratchvae.runs.checkpoint import read_checkpoint
from scratchvae.runs.environment import same_data


@pytest.fixture
def digits(tmp_path, monkeypatch):
    """A folder of tiny digits, next to the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    write_digits(tmp_path / "digits")
    return "digits"


def small(folder, digits, **options):
    return trained(folder, data_dir=digits, latent_dim=2, **options)


def told(folder, **changes):
    """The messages of `resume`."""
    lines = []
    resume(folder, lines.append, **changes)
    return lines


@pytest.mark.slow
def test_a_run_goes_on_from_another_folder(tmp_path, digits, monkeypatch):
    """The path of its data was relative to the folder where it began."""
    run = small(tmp_path / "run", digits)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert told(run, epochs=2)[-1].startswith("epoch  2")
    assert len(open_run(run, "numpy").test_images()) == 20


@pytest.mark.slow
def test_a_folder_of_images_is_found_from_another_folder(tmp_path, digits, monkeypatch):
    write_photographs(tmp_path / "photographs", 4)
    run = trained(tmp_path / "run", model="skip", data="images:photographs")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert told(run)[-1] == "training is done, after step 1"


@pytest.mark.slow
def test_data_may_have_moved_but_not_changed(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    (tmp_path / "digits").rename(tmp_path / "moved")
    with pytest.raises(FileNotFoundError, match="digits"):
        resume(run)
    assert "training is done, after step 3" in told(run, data_dir="moved")
    write_digits(tmp_path / "others", train_count=61)
    with pytest.raises(ValueError, match="the data set has changed: the run began with mnist"):
        resume(run, data_dir="others")
    assert "training is done" in told(run)[-1]  # the rejected folder is not saved


@pytest.mark.slow
def test_another_engine_is_announced(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    first, *_ = told(run, engine="numba", epochs=2)
    assert first.startswith("the environment has changed (engine numpy -> numba)")


def test_other_options_stay(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    with pytest.raises(TypeError, match="resume: expected changes among .*, got seed"):
        resume(run, seed=1)


@pytest.mark.slow
def test_a_run_that_goes_on_has_no_results_of_an_earlier_end(tmp_path, digits, monkeypatch):
    run = small(tmp_path / "run", digits)
    assert (run / "weights.safetensors").exists() and (run / "metrics.json").exists()

    def stop(*_):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(session, "leave_results", stop)
    with pytest.raises(OSError, match="No space left"):
        resume(run, print, epochs=2)
    opened = open_run(run, "numpy")
    assert opened.weights == run / "checkpoints/step-000000006.safetensors"


@pytest.mark.slow
def test_a_run_that_is_done_keeps_its_results(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    before = load_file(run / "weights.safetensors")
    assert told(run)[-1] == "training is done, after step 3"
    for name, a in load_file(run / "weights.safetensors").items():
        assert_array_equal(a, before[name])


@pytest.mark.slow
def test_out_of_patience_the_best_weights_are_left(tmp_path, digits, monkeypatch):
    """The held-out loss falls and then rises: the weights are those of the minimum."""
    scores = iter([5.0, 4.0, 6.0, 7.0])
    evaluate = session.Trainer.end_epoch.__globals__["evaluate_sampled"]

    def judged(model, images, rng):
        return evaluate(model, images, rng)._replace(reconstruction=next(scores), kl=0.0)

    monkeypatch.setitem(session.Trainer.end_epoch.__globals__, "evaluate_sampled", judged)
    run = small(tmp_path / "run", digits, epochs=9, validation=0.2, patience=2, keep=1)
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["epoch"], metrics["epochs_trained"]) == (2, 4)
    arrays, progress = read_checkpoint(run / "checkpoints/best.safetensors")
    assert progress["epoch"] == progress["best_epoch"] == 2
    state = open_run(run, "numpy").model.state_dict()
    for name, a in state.items():
        assert_array_equal(a, arrays[f"model.{name}"])
    last, _ = read_checkpoint(run / "checkpoints/step-000000012.safetensors")
    assert any((a != last[f"model.{name}"]).any() for name, a in state.items())
    assert told(run)[-1] == "training is done, after step 12"


@pytest.mark.slow
def test_metrics_have_the_full_kl_weight_after_a_warm_up(tmp_path, digits):
    """The deviation of a Gaussian decoder is computed from it."""
    data = f"images:{write_photographs(tmp_path / 'photographs')}"
    sigma = []
    for schedule in ("constant", "linear"):
        run = trained(
            tmp_path / schedule, model="skip", skips="none", data=data, kl_schedule=schedule
        )
        sigma.append(json.loads((run / "metrics.json").read_text())["test"]["decoder_sigma"])
    assert sigma[0] == sigma[1]


@pytest.mark.slow
def test_one_test_image_is_enough(tmp_path, digits):
    write_photographs(tmp_path / "two", 2)
    run = trained(tmp_path / "run", model="skip", data=f"images:{tmp_path / 'two'}")
    assert json.loads((run / "metrics.json").read_text())["test"] is None


@pytest.mark.parametrize("damaged", ["newest", "all"])
@pytest.mark.slow
def test_a_stopped_run_opens_with_a_checkpoint_that_is_sound(tmp_path, digits, damaged):
    run = small(tmp_path / "run", digits, epochs=3)
    (run / "weights.safetensors").unlink()
    newest, *others = sorted((run / "checkpoints").glob("*"), reverse=True)
    for path in [newest] if damaged == "newest" else [newest, *others]:
        content = bytearray(path.read_bytes())
        content[-1] ^= 1
        path.write_bytes(content)
    if damaged == "newest":
        opened = open_run(run, "numpy")
        assert opened.weights == others[0] and np.isfinite(opened.model.flat_value).all()
    else:
        with pytest.raises(
            FileNotFoundError, match=r"no sound checkpoint yet: .* its digest does not match"
        ):
            open_run(run, "numpy")


@pytest.mark.slow
def test_what_cannot_be_read_is_not_called_damaged(tmp_path, digits, monkeypatch):
    """A failing disk or a missing permission does not mean that the checkpoint is damaged."""
    run = small(tmp_path / "run", digits)

    def fails(path):
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(checkpoint, "read_checkpoint", fails)
    with pytest.raises(OSError, match="Input/output error"):
        resume(run)
    assert (run / "checkpoints/step-000000003.safetensors").exists()


def test_a_run_without_checkpoints_keeps_its_weights(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    for path in (run / "checkpoints").iterdir():
        path.unlink()
    with pytest.raises(
        ValueError, match="no checkpoint is left to continue from; to repeat it: scratch"
    ):
        resume(run)
    assert (run / "weights.safetensors").exists() and (run / "metrics.json").exists()


def test_checkpoints_of_a_lost_run_are_not_mixed_with_others(tmp_path, digits):
    (tmp_path / "run/checkpoints").mkdir(parents=True)
    stale = tmp_path / "run/checkpoints/step-000900000.safetensors"
    stale.touch()
    with pytest.raises(FileExistsError, match="contains checkpoints of a run whose config"):
        small(tmp_path / "run", digits)
    assert stale.exists() and not (tmp_path / "run/config.json").exists()


def test_files_of_others_are_left_alone(tmp_path, digits):
    """Files without a process number in their names, or with that of a running process."""
    (tmp_path / "run").mkdir()
    others = [".notes.tmp", ".a.b.tmp", f".sample.png.{os.getpid()}.tmp", ".x.0.tmp.txt"]
    for name in (*others, ".config.json.999999999.tmp"):
        (tmp_path / "run" / name).touch()
    small(tmp_path / "run", digits)
    found = {path.name for path in (tmp_path / "run").glob(".*")}
    assert found == {*others}


@pytest.mark.slow
def test_fewer_epochs_than_are_done_are_refused(tmp_path, digits):
    run = small(tmp_path / "run", digits, epochs=2)
    before = (run / "config.json").read_bytes()
    with pytest.raises(ValueError, match="epochs must be at least 2 .already begun., got 1"):
        resume(run, epochs=1)
    assert (run / "config.json").read_bytes() == before


@pytest.mark.slow
def test_a_smaller_rate_after_a_divergence_is_written_down(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    lines = told(run, epochs=2, lr=1e-4)
    assert "changed after step 3: epochs 1 -> 2, lr 0.001 -> 0.0001" in lines
    content = json.loads((run / "config.json").read_text())
    assert content["run"]["changes"] == [{"step": 3, "epochs": [1, 2], "lr": [0.001, 0.0001]}]
    assert content["options"]["lr"] == 0.0001


def test_too_large_a_model_is_refused_before_it_is_trained(tmp_path, digits, monkeypatch):
    monkeypatch.setattr(trainer, "MAX_BYTES", 20_000_000)
    with pytest.raises(ValueError, match="the model mlp has .* bytes of weights; .* limit of 3,2"):
        small(tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


def test_a_divergence_in_the_last_step_of_an_epoch_names_the_tensor(tmp_path, digits):
    with pytest.raises(FloatingPointError, match=r"in epoch 1: after step 1 model\.\S+ is not fin"):
        small(tmp_path / "run", digits, lr=1e38, optimizer="sgd", batch_size=60)


def test_a_folder_of_pictures_is_no_place_for_a_run(tmp_path, digits):
    """The next run would train on this run's pictures. A log of the run may be in the folder."""
    folder = write_photographs(tmp_path / "photographs", 3)
    with pytest.raises(
        FileExistsError, match=r"is a folder of pictures \(00\.png, \.\.\.\): choose"
    ):
        small(folder, digits)
    assert len(list(folder.iterdir())) == 3
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.txt").touch()
    small(tmp_path / "run", digits)


def test_a_data_set_is_known_by_its_content():
    """A folder of images may have been renamed."""
    begun = {"name": "images:photos", "sha256": "a" * 64, "train_images": 9, "test_images": 1}
    assert same_data(begun, begun | {"name": "images:moved"})
    for name, value in {"sha256": "b" * 64, "train_images": 8, "test_images": 2}.items():
        assert not same_data(begun, begun | {name: value})
    assert not same_data({}, begun)
