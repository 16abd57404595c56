"""Training on a data set that Python passes, and on images of any size and colour."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs.training import small_config, small_data
from safetensors.numpy import load_file
from small_runs import write_photographs

import scratchvae as sv
from scratchvae.__main__ import main
from scratchvae.data import Dataset, spread
from scratchvae.runs import Config, open_run, resume, train
from scratchvae.runs.data import check_data, images_of
from scratchvae.runs.trainer import Trainer


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def quietly(config, data=None, folder=None):
    lines = []
    train(config, data, folder, say=lines.append, bar=False)
    return lines


def weights(folder):
    return {n: a.tobytes() for n, a in load_file(Path(folder) / "weights.safetensors").items()}


def test_a_run_on_a_data_set_of_the_users_continues_with_it():
    """The folder is runs/MODEL unless told otherwise; the result is that of one go."""
    data = small_data()
    lines = quietly(small_config(epochs=1), data)
    assert "small: 11 training images, 5 test images" in lines[0]
    options = json.loads(Path("runs/mlp/config.json").read_text())["options"]
    assert options["data"] == "python:small" and options["data_dir"] is None
    resume("runs/mlp", lines.append, data=data, epochs=3)
    quietly(small_config(), data, "straight")
    assert weights("runs/mlp") == weights("straight")
    with pytest.raises(ValueError, match="the data set has changed"):
        resume("runs/mlp", lines.append, data=small_data(seed=1))


def test_a_run_continues_after_a_killed_command_left_a_folder_in_its_pictures():
    quietly(small_config(epochs=1), small_data())
    left = Path("runs/mlp/pictures/.samples.0123456789abcdef.tmp")
    left.mkdir(parents=True)
    (left / "000000.png").touch()
    resume("runs/mlp", lambda text: None, data=small_data(), epochs=2)
    assert not left.exists()


@pytest.mark.parametrize(
    "line",
    [
        "train --resume runs/mlp --epochs 9",
        "train --config runs/mlp/config.json --out again",
        "evaluate runs/mlp",
        "reconstruct runs/mlp",
    ],
)
def test_a_command_says_how_to_name_data_that_came_from_python(line, capsys):
    quietly(small_config(epochs=1), small_data())
    before = Path("runs/mlp/config.json").read_bytes()
    with pytest.raises(SystemExit):
        main(line.split())
    (said,) = capsys.readouterr().err.splitlines()
    assert "(python:small) came from Python: pass them again as data=" in said
    assert "--data NAME" in said
    assert Path("runs/mlp/config.json").read_bytes() == before and not Path("again").exists()


def test_another_data_set_may_be_named(capsys, monkeypatch, tmp_path):
    """Its images are made to fit the model: 4 x 4, grey."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quietly(small_config(epochs=1, latent_dim=2), small_data())
    write_photographs(tmp_path / "photographs")
    line = ["evaluate", "runs/mlp", "--data", "images:photographs"]
    assert main([*line, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["images"] == 2
    with pytest.raises(SystemExit):
        main([*line, "--image-size", "8"])
    assert (
        "takes images of shape (1, 4, 4), but those of images:photographs have shape (1, 8, 8); "
        "--image-size 4 fits\n"
    ) in capsys.readouterr().err


ZEROS = np.zeros((6, 4, 4), "uint8")


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        ("runs/a", TypeError, "data must be a Dataset, got 'runs/a'; for a folder use folder="),
        (Path("a"), TypeError, "for a folder use folder="),
        (ZEROS, TypeError, "data must be a Dataset, got ndarray"),
        (Dataset("", ZEROS, ZEROS), ValueError, "data.name must be a text .* got ''"),
        (Dataset(" ", ZEROS, ZEROS), ValueError, "data.name must be"),
        (Dataset(None, ZEROS, ZEROS), ValueError, "data.name must be .* got None"),
        (Dataset("x", ZEROS / 255, ZEROS), TypeError, r"train_images: .*np.rint\(255 \* images\)"),
        (Dataset("x", ZEROS, ZEROS[:0]), ValueError, "test_images: expected at least one image"),
        (Dataset("x", ZEROS, ZEROS[:, :3]), ValueError, r"test_images must have .* \(N, 4, 4\)"),
        (Dataset("x", ZEROS[0], ZEROS[0]), ValueError, r"got \(4, 4\)"),
        (Dataset("x", *[np.zeros((6, 4, 4, 3), "uint8")] * 2), ValueError, "1 or 3 channels"),
        (Dataset("x", ZEROS, ZEROS, np.zeros(5, int)), ValueError, "train_labels must .*each of 6"),
        (Dataset("x", ZEROS, ZEROS, test_names=["a"]), ValueError, "test_names must .*, got 1"),
        (
            Dataset("x", ZEROS, ZEROS, validation_images=ZEROS, validation_labels=np.zeros(5, int)),
            ValueError,
            "validation_labels must .*each of 6",
        ),
        (
            Dataset("x", ZEROS, ZEROS, validation_images=ZEROS.astype(bool)),
            TypeError,
            r"validation_images: .*found bool: convert them with 255 \* images",
        ),
    ],
)
@pytest.mark.parametrize("name", ["train", "begin"])
def test_a_data_set_that_is_none_is_refused(name, data, error, said):
    with pytest.raises(error, match=f"^{name}: .*{said}"):
        if name == "train":
            quietly(small_config(), data)
        else:
            sv.runs.begin("out", small_config(), data)
    assert not any(Path().iterdir())


def test_data_that_look_wrong_are_trained_on_with_a_warning():
    data = small_data()
    dark = replace(data, train_images=data.train_images // 200)
    lines = quietly(small_config(epochs=1), dark)
    assert lines[0].startswith("warning: small: the brightest pixel of all 11 images is 1 of 255")
    assert "warning" not in "".join(quietly(small_config(epochs=1), data, "bright"))


@pytest.mark.parametrize(
    "option",
    [
        {"image_size": "4"},
        {"grey": True},
        {"crop": "none"},
        {"background": "black"},
        {"value_range": "0,1"},
        {"image_size": "native", "grey": True},
    ],
)
def test_options_about_images_are_not_for_a_data_set_of_the_users(option):
    said = f"^train: {', '.join(option)}: prepare the images of your Dataset yourself$"
    with pytest.raises(ValueError, match=said):
        quietly(small_config(**option), small_data())
    assert not any(Path().iterdir())


@pytest.mark.parametrize("data", [ZEROS, None, Path("a"), [1]])
def test_a_run_continues_only_with_a_data_set(data):
    with pytest.raises(TypeError, match="^resume: data must be a Dataset or the name of a data"):
        resume("runs/mlp", data=data)


@pytest.fixture
def photographs(monkeypatch, tmp_path):
    """A folder of images, and a run on them in runs/mlp."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = write_photographs(tmp_path / "photographs")
    options = {"data": f"images:{folder}", "image_size": "8", "image_shape": None}
    quietly(small_config("mlp", epochs=1, grey=True, **options))
    return folder


def test_a_folder_that_changed_after_the_training_is_refused(capsys, photographs):
    """Its test images may have been trained on. The user may want them anyway, or other images."""

    def command(name, *options):
        try:
            status = main([name, "runs/mlp", "--engine", "numpy", *options])
        except SystemExit as end:
            status = end.code
        return status, [line for line in capsys.readouterr().err.splitlines() if "changed" in line]

    lines = [["evaluate"], ["encode", "--out", "codes.npz"], ["reconstruct"]]
    for line in lines:
        assert command(*line) == (0, [])
    for path in sorted(photographs.iterdir())[:5]:
        path.rename(path.with_name(f"z{path.name}"))
    (photographs / "19.png").unlink()
    for line in lines:
        status, (said,) = command(*line)
        assert status == 2 and "the data set has changed: the run began with images:pho" in said
        assert said.endswith("restore the data, or use these with --anyway (anyway=True in Python)")
        status, (said,) = command(*line, "--anyway")
        assert status == 0 and said.startswith("warning: runs/mlp: the data set has changed")
        assert said.endswith("its test images may be training images")
    assert command("sample") == (0, [])  # it uses no images
    assert command("evaluate", "--data", f"images:{photographs}") == (0, [])
    assert command("evaluate", "--crop", "none") == (0, [])


def test_a_script_on_data_of_the_users_says_so():
    files = sv.runs.begin("out", Config(), small_data())
    assert files.read_config()[0].data == "python:small"


# --- Sizes and colours ---------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["numpy", "numba"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("model", "size"),
    [("mlp", (6, 5)), ("ae", (6, 5)), ("conv", (12, 8)), ("celeba", (32, 64)), ("skip", (64, 64))],
)
@pytest.mark.slow
def test_every_model_trains_on_grey_and_colour(few_channels, model, size, channels, engine):
    """Whole runs, with pictures."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, channels, *size), "uint8")
    if channels == 1:
        images = images[:, 0]
    data = Dataset("noise", images[:8], images[8:])
    config = Config(model=model, epochs=1, batch_size=4, engine=engine, pictures=[1])
    quietly(config, data, "run")
    assert {path.name for path in Path("run").glob("*.png")} >= {"samples.png", "loss.png"}
    assert len([*Path("run/pictures").iterdir()]) == 2
    assert open_run("run", engine).model.image_shape == (channels, *size)


@pytest.mark.parametrize(
    ("model", "shape", "way"),
    [
        ("tiny", (3, 64, 64), "3 x 64 x 64; --image-size 28 --grey fit)"),
        ("tiny", (32, 32), "1 x 32 x 32; --image-size 28 fits)"),
        ("tiny", (3, 28, 28), "3 x 28 x 28; --grey fits)"),
        ("conv", (3, 30, 45), "3 x 30 x 45; --image-size 44x32 fits)"),
        ("conv", (1, 1), "1 x 1 x 1; --image-size 4 fits)"),
        ("celeba", (28, 28), "1 x 28 x 28; --image-size 32 fits)"),
        ("skip", (3, 80, 64), "3 x 80 x 64; --image-size 64 fits)"),
        ("skip", (3, 218, 178), "3 x 218 x 178; --image-size 192 fits)"),
    ],
)
def test_a_model_that_does_not_admit_the_size_says_which_fits(model, shape, way):
    """And that size is admitted."""
    data = Dataset("noise", *[np.zeros((4, *shape), "uint8")] * 2)
    with pytest.raises(ValueError, match="must be") as error:
        quietly(Config(model=model, engine="numpy"), data)
    assert str(error.value).endswith(f"(images of noise, {way}")
    kind = sv.models.MODELS[model]
    sv.models.build(model, image_shape=kind.nearest_shape((1, *shape)[-3:]))


# --- Validation ----------------------------------------------------------------------------------


def test_binarized_runs_of_both_splits_are_known_by_their_images():
    data = small_data(train=20)
    for split in ("spread", "tail"):
        images = images_of(small_config(validation=0.25, split=split, binarize=True), data)
        assert len(images.held_out) == 5 and len(images.chosen) == 15
        assert sv.data.is_binary(images.held_out) and sv.data.is_binary(images.test)
        expected = np.arange(15) if split == "tail" else np.delete(np.arange(20), spread(5, 20))
        np.testing.assert_array_equal(images.chosen, expected)


def test_large_training_images_are_not_copied():
    """Photographs are mapped from disk, and may be larger than the memory."""
    data = small_data(train=20)
    ours = Trainer(small_config(validation=0.25), data)
    assert ours.train_images is data.train_images


def test_the_users_validation_images_are_part_of_the_check():
    own = replace(small_data(), validation_images=small_data(seed=1).test_images)
    check_data("train", own)
    quietly(small_config(epochs=1, patience=1), own)
    with pytest.raises(ValueError, match="the data set has changed"):
        resume("runs/mlp", print, data=small_data())
