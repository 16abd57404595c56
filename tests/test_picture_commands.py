"""`scratchvae reconstruct`, `sample`, `interpolate`, `traverse` and `manifold`."""

import json
import os

import numpy as np
import pytest
from idx_files import write_digits
from PIL import Image
from small_runs import trained, write_photographs

from scratchvae import plots
from scratchvae.__main__ import main
from scratchvae.data import spread
from scratchvae.runs import open_run

COMMANDS = ("reconstruct", "sample", "interpolate", "traverse", "manifold")

pytestmark = pytest.mark.slow  # the runs below train a skip model


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trained models by name: mlp and ae with two latent dimensions, mlp with three, skip."""
    root = tmp_path_factory.mktemp("runs")
    digits = {"data_dir": str(write_digits(root / "digits"))}
    faces = {"data": f"images:{write_photographs(root / 'faces')}", "batch_size": 6}
    return {
        "plane": trained(root / "plane", model="mlp", latent_dim=2, **digits),
        "three": trained(root / "three", model="mlp", latent_dim=3, **digits),
        "ae": trained(root / "ae", model="ae", latent_dim=2, **digits),
        "skip": trained(root / "skip", model="skip", **faces),
    }


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, runs, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(runs["skip"].parent / "cache"))


@pytest.fixture
def arrays(runs, tmp_path, capsys):
    """Run a command with --npz; return the arrays and standard error."""

    def run(command, name, *options):
        path = tmp_path / "arrays.npz"
        words = [command, str(runs[name]), "--engine", "numpy", "--npz", str(path), *options]
        assert main(words) == 0
        out, err = capsys.readouterr()
        assert out == f"{path}\n" and os.listdir(tmp_path) == ["arrays.npz"]
        with np.load(path) as found:
            return dict(found), err

    return run


@pytest.fixture
def refused(runs, tmp_path, capsys):
    """Run a command that ends with status 2 and writes no file; return its message."""

    def run(command, name, *options):
        folder = runs.get(name, tmp_path)
        before = sorted(folder.rglob("*"))
        with pytest.raises(SystemExit) as end:
            main([command, str(folder), "--engine", "numpy", *map(str, options)])
        assert end.value.code == 2 and sorted(folder.rglob("*")) == before
        out, err = capsys.readouterr()
        assert out == ""
        return err.splitlines()[-1]

    return run


def pixels(path):
    return np.asarray(Image.open(path))


# --- All of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_picture_goes_to_out_or_to_the_runs_own_folder(runs, tmp_path, capsys, command, own):
    """Its path is printed, after it that of a second picture."""
    folder, stem = (runs["plane"] / "pictures", command) if own else (tmp_path, "here")
    words = [command, str(runs["plane"]), "--engine", "numpy"]
    words += [] if own else ["--out", str(tmp_path / "here.png"), "--json"]
    assert main(words) == 0
    out = capsys.readouterr().out
    paths = [str(folder / f"{stem}.png")]
    paths += [str(folder / f"{stem}-codes.png")] * (command == "manifold")
    if own:
        assert out.splitlines() == paths
    else:
        found = json.loads(out)
        assert [found["file"], *found.get("also", [])] == paths
        assert found["shape"][-3:] == [1, 28, 28]
        assert sorted(map(str, tmp_path.iterdir())) == sorted(paths)
    assert all(pixels(path).std() > 1 for path in paths)
    assert not list(folder.glob(".*")), "unfinished files have other names and are deleted"


@pytest.mark.parametrize("command", COMMANDS)
def test_no_run_is_one_line(refused, tmp_path, command):
    assert refused(command, "nowhere").endswith(f"{tmp_path} is not a run: it has no config.json")


def test_a_picture_that_fails_leaves_the_one_before(runs, tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"before")

    def fail(self, file, *rest):
        file.write(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(SystemExit):
        main(["sample", str(runs["plane"]), "--engine", "numpy", "--out", str(path)])
    assert path.read_bytes() == b"before" and os.listdir(tmp_path) == ["picture.png"]


@pytest.mark.parametrize(
    ("command", "options", "said"),
    [
        ("reconstruct", ["--count", "0"], "argument --count: must be above 0, got 0"),
        ("reconstruct", ["--count", "21"], "--count: expected at most 20 test images, got 21"),
        ("reconstruct", ["--images", "3,20"], "--images: expected indices from 0 to 19, got 20"),
        ("reconstruct", ["--images=-1"], "--images: expected indices from 0 to 19, got -1"),
        ("reconstruct", ["--files", "no.png"], "no.png: No such file or directory"),
        ("sample", ["--temperature", "-1"], "--temperature: must be 0 or more, got -1"),
        ("sample", ["--skips-from", "0"], "--skips-from: the model mlp has no skips"),
        ("interpolate", ["--pairs", "1,2,3"], "--pairs: expected an even number of images, got 3"),
        ("interpolate", ["--steps", "1"], "argument --steps: must be 2 or more, got 1"),
        ("interpolate", ["--pairs", "1,20"], "--pairs: expected indices from 0 to 19, got 20"),
        ("traverse", ["--dimensions", "3"], "--dimensions: expected 0 to 2, got 3"),
        ("traverse", ["--image", "20"], "--image: expected indices from 0 to 19, got 20"),
        ("traverse", ["--steps", "1"], "argument --steps: must be 2 or more, got 1"),
        ("manifold", [], "shape (3,); train one: scratchvae train mlp --latent-dim 2"),
    ],
)
def test_refusals(refused, command, options, said):
    assert said in refused(command, "three", *options)


# --- reconstruct ---------------------------------------------------------------------------------


def test_reconstruct_has_each_image_over_its_reconstruction(runs, arrays, tmp_path):
    found, _ = arrays("reconstruct", "three", "--images", "3,14,5")
    run = open_run(runs["three"], "numpy")
    x = run.test_images()[[3, 14, 5]][:, None].astype("float32") / np.float32(255)
    np.testing.assert_array_equal(found["originals"], x)
    np.testing.assert_allclose(found["images"], run.model.reconstruct(x), atol=1e-6)
    assert found["test_indices"].tolist() == [3, 14, 5] and found["z"].shape == (3, 3)
    assert found["data_range"].tolist() == [0, 1]

    path = tmp_path / "table.png"
    main(["reconstruct", str(runs["three"]), "--images", "3,14,5", "--out", str(path)])
    shown = pixels(path)[-8 - 4 * 59 :, -8 - 4 * 88 :]
    for row, images in enumerate((found["originals"], found["images"])):
        for column, image in enumerate(images):
            expected = plots.to_uint8(image[None], (0, 1))[0, 0].repeat(4, 0).repeat(4, 1)
            top, left = 4 + row * 116, 4 + column * 116
            found_there = shown[top : top + 112, left : left + 112]
            np.testing.assert_array_equal(found_there, expected)


def test_reconstruct_draws_z(arrays):
    mean, _ = arrays("reconstruct", "three")
    one, _ = arrays("reconstruct", "three", "--sampled")
    again, _ = arrays("reconstruct", "three", "--sampled")
    other, _ = arrays("reconstruct", "three", "--sampled", "--seed", "1")
    np.testing.assert_array_equal(one["z"], again["z"])
    assert len(mean["z"]) == 8 and mean["test_indices"].tolist() == spread(8, 20).tolist()
    assert len({str(found["z"]) for found in (mean, one, other)}) == 3


def test_an_autoencoder_draws_nothing(refused):
    assert "expected a VAE to draw z from, got AE" in refused("reconstruct", "ae", "--sampled")


def test_reconstruct_takes_files_in_grey_or_in_colour(arrays, tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    for name, colour in (("red", (255, 0, 0)), ("green", (0, 255, 0))):
        Image.new("RGB", (100, 70), colour).save(folder / f"{name}.png")
    files = ["--files", str(folder / "red.png"), str(folder / "green.png")]
    grey, _ = arrays("reconstruct", "three", *files)
    assert grey["originals"].shape == (2, 1, 28, 28) and "test_indices" not in grey
    np.testing.assert_array_equal(grey["originals"][:, 0, 5, 5], np.float32([76, 150]) / 255)
    colour, _ = arrays("reconstruct", "skip", *files)
    assert colour["originals"][:, :, 9, 9].tolist() == [[1, 0, 0], [0, 1, 0]]


# --- sample --------------------------------------------------------------------------------------


def test_files_that_look_black_are_a_warning(runs, tmp_path, capsys):
    """Each is named; --value-range makes it bright."""
    mask = np.zeros((28, 28), "uint8")
    mask[8:20, 8:20] = 1
    paths = [str(tmp_path / name) for name in ("mask.png", "bright.png")]
    for path, scale in zip(paths, (1, 255), strict=True):
        Image.fromarray(mask * np.uint8(scale)).save(path)
    line = ["reconstruct", str(runs["three"]), "--npz", str(tmp_path / "x.npz")]
    assert main([*line, "--files", *paths]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"warning: {paths[0]}: the brightest pixel of the image is 1 of 255")
    assert main([*line, "--value-range", "0,1", "--files", paths[0]]) == 0
    assert capsys.readouterr().err == ""


def test_sample_decodes_seeded_noise(runs, arrays):
    one, said = arrays("sample", "three", "--count", "5", "--seed", "7")
    assert "autoencoder" not in said and "skips" not in said
    few, _ = arrays("sample", "three", "--count", "2", "--seed", "7", "--temperature", "0.5")
    model = open_run(runs["three"], "numpy").model
    np.testing.assert_array_equal(one["z"], model.noise(5, np.random.default_rng(7)))
    np.testing.assert_array_equal(few["z"], one["z"][:2] / 2)
    np.testing.assert_allclose(one["images"], model.generate(one["z"]), atol=1e-6)


def test_sample_has_so_many_columns(runs, tmp_path):
    path = tmp_path / "s.png"
    main(["sample", str(runs["three"]), "--count", "5", "--columns", "2", "--out", str(path)])
    height, width = pixels(path).shape
    assert width == 2 * 8 + 4 * (2 * 29 + 1) and height > 2 * 8 + 4 * (3 * 29 + 1)


def test_sample_says_that_an_autoencoder_has_no_prior(arrays):
    assert "an autoencoder has no prior" in arrays("sample", "ae")[1]


def test_sample_says_where_skips_come_from(runs, arrays):
    without, said = arrays("sample", "skip", "--count", "2")
    assert "decoding without skips" in said
    lent, said = arrays("sample", "skip", "--count", "2", "--skips-from", "0")
    assert "decoding with the skips of test image 0" in said
    np.testing.assert_array_equal(lent["z"], without["z"])
    run = open_run(runs["skip"], "numpy")
    x = np.repeat(run.test_images()[:1].astype("float32") / np.float32(255), 2, axis=0)
    np.testing.assert_allclose(lent["images"], run.model.generate(lent["z"], x), atol=1e-6)
    np.testing.assert_allclose(without["images"], run.model.generate(lent["z"]), atol=1e-6)


# --- interpolate, traverse, manifold -------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["--spherical"]])
def test_interpolate_ends_at_the_reconstructions(arrays, options):
    found, _ = arrays("interpolate", "three", "--pairs", "3,5,7,9", "--steps", "4", *options)
    assert found["images"].shape == (2, 4, 1, 28, 28) and found["z"].shape == (2, 4, 3)
    np.testing.assert_allclose(found["t"], [0, 1 / 3, 2 / 3, 1])
    assert found["test_indices"].tolist() == [3, 5, 7, 9]
    ends, _ = arrays("reconstruct", "three", "--images", "3,5,7,9")
    rows = found["images"][:, [0, -1]].reshape(4, 1, 28, 28)
    np.testing.assert_allclose(rows, ends["images"], atol=1e-6)
    middle = (found["z"][:, 0] + 2 * found["z"][:, 3]) / 3
    assert np.allclose(found["z"][:, 2], middle, atol=1e-6) == (not options)


def test_traverse_goes_through_one_dimension_in_each_row(runs, arrays):
    found, _ = arrays("traverse", "three", "--dimensions", "2,0", "--range", "2", "--steps", "5")
    assert found["dimensions"].tolist() == [2, 0] and "test_indices" not in found
    assert found["values"].tolist() == [-2, -1, 0, 1, 2]
    np.testing.assert_array_equal(found["z"][0], [[0, 0, v] for v in found["values"]])
    np.testing.assert_array_equal(found["z"][1], [[v, 0, 0] for v in found["values"]])
    model = open_run(runs["three"], "numpy").model
    np.testing.assert_allclose(found["images"][1], model.generate(found["z"][1]), atol=1e-6)


def test_traverse_starts_from_an_image_and_chooses_the_active_dimensions(runs, arrays):
    codes, _ = arrays("reconstruct", "three", "--count", "20")
    found, _ = arrays("traverse", "three", "--image", "4")
    assert found["dimensions"].tolist() == np.argsort(-codes["z"].var(axis=0)).tolist()
    assert found["test_indices"].tolist() == [4] and found["z"].shape == (3, 11, 3)
    for dimension, row in zip(found["dimensions"], found["z"], strict=True):
        others = np.delete(np.arange(3), dimension)
        np.testing.assert_allclose(row[:, others] - codes["z"][4, others], 0, atol=1e-6)


@pytest.mark.parametrize("command", ["interpolate", "traverse"])
def test_skips_may_come_from_an_image(arrays, command):
    options = {"interpolate": ["--pairs", "0,1"], "traverse": ["--dimensions", "0,255"]}[command]
    without, said = arrays(command, "skip", *options, "--steps", "2")
    assert "decoding without skips" in said
    lent, said = arrays(command, "skip", *options, "--steps", "2", "--skips-from", "1")
    assert "decoding with the skips of test image 1" in said
    assert np.abs(lent["images"] - without["images"]).max() > 1e-3


def test_manifold_has_the_plane_and_the_codes_of_the_test_set(runs, arrays):
    found, _ = arrays("manifold", "plane", "--size", "3")
    model = open_run(runs["plane"], "numpy").model
    np.testing.assert_allclose(found["images"], model.generate(found["z"]), atol=1e-6)
    assert found["z"].shape == (9, 2)
    codes, _ = arrays("reconstruct", "plane", "--count", "20")
    np.testing.assert_allclose(found["codes"], codes["z"], atol=1e-6)
    labels = open_run(runs["plane"], "numpy").load_data().test_labels
    np.testing.assert_array_equal(found["labels"], labels)


def test_manifold_of_skip_has_no_advice_that_it_would_refuse(refused):
    assert refused("manifold", "skip").endswith("shape (256, 1, 1); the model skip always has more")


def test_a_picture_of_classes_has_their_colours(tmp_path):
    codes = np.random.default_rng(0).standard_normal((100, 2))
    plots.code_scatter(codes, np.repeat([1, 4], 50), tmp_path / "codes.png", "two classes")
    shown = {tuple(colour) for colour in pixels(tmp_path / "codes.png")[..., :3].reshape(-1, 3)}
    assert {(0xFF, 0x7F, 0x0E), (0x94, 0x67, 0xBD)} & shown, "C1 and C4"


def test_a_table_needs_a_label_for_each_row_and_column(tmp_path):
    with pytest.raises(ValueError, match="2 x 3 images need as many labels, got 2 x 2"):
        plots.image_table(np.zeros((2, 3, 1, 4, 4)), tmp_path / "x.png", ["a", "b"], ["c", "d"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["reconstruct", "interpolate"])
def test_a_small_test_set_is_shown_as_far_as_it_goes(command, tmp_path):
    write_digits(tmp_path / "digits", 20, 5)
    run = trained(tmp_path / "run", data_dir=str(tmp_path / "digits"), latent_dim=2)
    assert main([command, str(run), "--npz", str(tmp_path / "a.npz"), "--engine", "numpy"]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        chosen = spread(5 if command == "reconstruct" else 4, 5)
        np.testing.assert_array_equal(arrays["test_indices"], chosen)
