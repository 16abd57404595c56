"""Resuming a run, and the files at its end."""

import json
from dataclasses import replace

import numpy as np
import pytest
from idx_files import write_digits
from numpy.testing import assert_array_equal
from safetensors.numpy import load_file
from small_runs import trained, write_photographs

import scratchvae as sv
from scratchvae import backend
from scratchvae.__main__ import main
from scratchvae.output import lock
from scratchvae.runs import RunFolder, open_run, resume, session, trainer
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
def test_a_finished_run_that_continues_keeps_its_results_until_new_ones_are_there(
    tmp_path, digits, monkeypatch
):
    run = small(tmp_path / "run", digits)
    before = {name: (run / name).read_bytes() for name in ("weights.safetensors", "metrics.json")}

    def stop(*_):
        raise OSError(28, "No space left on device", "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr(session, "leave_results", stop)
        with pytest.raises(OSError, match="No space left"):
            resume(run, print, epochs=2)
    assert before == {name: (run / name).read_bytes() for name in before}
    assert open_run(run, "numpy").weights == run / "weights.safetensors"
    resume(run)
    assert before["metrics.json"] != (run / "metrics.json").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_done_keeps_its_results(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    before = load_file(run / "weights.safetensors")
    assert told(run)[-1] == "training is done, after step 3"
    for name, a in load_file(run / "weights.safetensors").items():
        assert_array_equal(a, before[name])


def judge(monkeypatch, *scores):
    """Make evaluations return these reconstruction losses, one after the other."""
    left, evaluate = iter(scores), trainer.evaluate_sampled

    def judged(model, images, rng):
        return evaluate(model, images, rng)._replace(reconstruction=next(left), kl=0.0)

    monkeypatch.setattr(trainer, "evaluate_sampled", judged)


def impatient(run):
    return (
        "stopped after epoch 4 of 9, because 2 epochs had no better validation loss than epoch 2 "
        f"(patience 2); the weights are those of epoch 2; to continue: scratchvae train --resume "
        f"{run} --patience 4"
    )


@pytest.mark.slow
def test_out_of_patience_the_best_weights_are_left(tmp_path, digits, monkeypatch):
    """The held-out loss falls and then rises: the weights are those of the minimum."""
    judge(monkeypatch, 5.0, 4.0, 6.0, 7.0)
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
    *_, done, last = told(run)
    assert done == "training is done, after step 12" and last == impatient(run)


@pytest.fixture
def stopped_early(tmp_path, digits, monkeypatch):
    """A run of nine epochs whose patience is used up after four; the next epochs are better."""
    judge(monkeypatch, 5.0, 4.0, 6.0, 7.0, 3.0, 2.0, 1.0, 0.5, 0.25)
    return small(tmp_path / "run", digits, epochs=9, validation=0.2, patience=2)


def test_a_change_without_effect_is_refused_before_it_is_recorded(stopped_early):
    """Patience is used up, so that no step would be trained."""
    before = (stopped_early / "config.json").read_bytes()
    for changes in ({"epochs": 60}, {"lr": 0.1}, {"clip_norm": 1.0}, {"epochs": 60, "patience": 2}):
        with pytest.raises(ValueError, match="would have no effect: stopped after ep") as error:
            resume(stopped_early, print, **changes)
        assert str(error.value).endswith("give also, for example, --patience 4")
        assert (stopped_early / "config.json").read_bytes() == before


@pytest.mark.slow
def test_with_more_patience_the_run_continues(stopped_early):
    """As the message at its end says; fewer epochs end it where it is."""
    assert told(stopped_early, epochs=4)[-1] == "changed after step 12: epochs 9 -> 4"
    lines = told(stopped_early, patience=4, epochs=6)
    assert "changed after step 12: epochs 4 -> 6, patience 2 -> 4" in lines
    assert lines[-1].startswith("epoch  6")


def test_all_epochs_are_done_and_a_change_needs_more_of_them(tmp_path, digits):
    run = small(tmp_path / "run", digits)
    with pytest.raises(ValueError, match="--lr would have no effect: all 1 epochs are done; give"):
        resume(run, print, lr=0.1)
    assert told(run)[-1] == "training is done, after step 3"


@pytest.mark.parametrize("engine", ["cuda", pytest.param("numba", marks=pytest.mark.slow)])
def test_an_engine_that_this_machine_lacks_is_replaced_by_an_option(
    tmp_path, digits, monkeypatch, capsys, engine
):
    """A run of another machine: --resume and --config name the option that helps."""
    run = small(tmp_path / "run", digits)
    files = RunFolder(run)
    config, about = files.read_config()
    change = {"step": 3, "engine": ["numpy", engine]}
    files.write_config(replace(config, engine=engine), about | {"changes": [change]})
    problem = {"cuda": "gpu_problem", "numba": "numba_problem"}[engine]
    monkeypatch.setattr(backend, problem, lambda: f"{engine} is not installed")
    monkeypatch.setattr(backend, "gpu_problem", lambda: "no GPU")
    for line in (["--resume", str(run)], ["--config", str(run / "config.json"), "--out", "again"]):
        with pytest.raises(SystemExit):
            main(["train", *line])
        assert capsys.readouterr().err.endswith(
            "; --engine auto uses the best engine of this machine\n"
        )
    with sv.using("numpy"):
        assert main(["train", "--resume", str(run), "--engine", "auto", "--quiet"]) == 0


@pytest.mark.slow
def test_a_run_of_format_1_continues_with_its_images(tmp_path, digits):
    """Bit for bit: the validation images are the last ones, although config.json does not say."""
    options = {"validation": 0.2, "binarize": True, "batch_size": 7}
    straight = small(tmp_path / "straight", digits, epochs=2, split="tail", **options)
    run = small(tmp_path / "run", digits, split="tail", **options)
    content = json.loads((run / "config.json").read_text())
    for name in ("image_size", "grey", "crop", "background", "value_range", "split"):
        del content["options"][name]
    (run / "config.json").write_text(json.dumps(content | {"format": 1}))
    resume(run, print, epochs=2)
    assert json.loads((run / "config.json").read_text())["options"]["split"] == "tail"
    for name, a in load_file(run / "weights.safetensors").items():
        assert_array_equal(a, load_file(straight / "weights.safetensors")[name])


def fail(*_):
    raise MemoryError


@pytest.mark.parametrize(
    "where", ["session.check", "session._introduction", "train.CPUStepper.step", "trainer.batches"]
)
def test_nothing_is_left_of_a_run_that_fails_before_its_first_step(
    tmp_path, digits, monkeypatch, where
):
    """The next run may begin in the same folder."""
    if where == "session.check":
        kept = {"image_size": "30", "model": "skip", "latent_dim": None}
        with pytest.raises(ValueError, match="multiples of 64"):
            trained(tmp_path / "run", data_dir=digits, **kept)
    else:
        with monkeypatch.context() as patch, pytest.raises(MemoryError):
            module = {"session": session, "trainer": trainer, "train": sv.train}
            first, *names = where.split(".")
            *owners, last = names
            owner = module[first]
            for name in owners:
                owner = getattr(owner, name)
            patch.setattr(owner, last, fail)
            small(tmp_path / "run", digits)
    assert not (tmp_path / "run").exists()


def test_files_of_the_users_stay_when_a_run_fails_before_its_first_step(
    tmp_path, digits, monkeypatch
):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/log.txt").touch()
    monkeypatch.setattr(session, "_introduction", fail)
    with pytest.raises(MemoryError):
        small(tmp_path / "run", digits)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["log.txt"]


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

    monkeypatch.setattr(sv.runs.run, "read_checkpoint", fails)
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
    """Names of another kind, or files that a process has locked."""
    (tmp_path / "run").mkdir()
    used = f".sample.png.{'a' * 16}.tmp"
    others = [".notes.tmp", ".a.b.tmp", ".a.12345.tmp", f".x.{'0' * 16}.tmp.txt", used]
    for name in (*others, f".config.json.{'b' * 16}.tmp"):
        (tmp_path / "run" / name).touch()
    with open(tmp_path / "run" / used) as file:
        assert lock(file)
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
    assert not same_data(begun, begun | {"sha256": "b" * 64})
    assert not same_data({}, begun)
