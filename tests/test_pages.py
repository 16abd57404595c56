"""Many images: pages, limits that are checked before any work, folders, arrays in parts."""

import json
import os
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from idx_files import write_digits
from PIL import Image
from small_runs import trained

import scratchvae as sv
from scratchvae import plots
from scratchvae.__main__ import main
from scratchvae.commands import pictures
from scratchvae.data import spread
from scratchvae.evaluation import latents
from scratchvae.runs import open_run
from scratchvae.runs.results import leave_pictures


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A trained model with two latent dimensions and 20 test images."""
    root = tmp_path_factory.mktemp("runs")
    digits = {"data_dir": str(write_digits(root / "digits")), "latent_dim": 2}
    return trained(root / "plane", model="mlp", **digits)


@pytest.fixture
def command(run, tmp_path, monkeypatch, capsys):
    """Run a command in an empty folder; return its exit status, output and last line on stderr."""
    monkeypatch.chdir(tmp_path)

    def command(name, *options):
        try:
            status = main([name, str(run), "--engine", "numpy", *map(str, options)])
        except SystemExit as end:
            status = end.code
        out, err = capsys.readouterr()
        return status, out, (err.splitlines() or [""])[-1]

    return command


@pytest.fixture
def arrays(command):
    """Run a command with --npz; return its arrays and last line on stderr."""

    def arrays(name, *options):
        status, _, said = command(name, *options, "--npz", "a.npz")
        assert status == 0, said
        with np.load("a.npz") as found:
            return dict(found), said

    return arrays


# --- Pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 7, 8, 12, 13, 64, 65, 1000, 20_000])
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 96), (1, 96, 20)])
@pytest.mark.parametrize("pairs", [False, True])
def test_a_page_is_about_square_or_one_short_row(count, shape, pairs):
    rows, columns = plots.layout(count, shape, pairs=pairs)
    each = 1 + pairs
    assert rows % each == 0 and rows * columns >= each * count > each * (rows // each - 1) * columns
    height, width = rows * shape[1], columns * shape[2]
    one_row = columns <= (12 if pairs else 8)
    assert one_row or 0.5 < height / width < 2
    assert plots.layout(count, shape, 5, pairs)[1] == min(5, count)


def test_many_reconstructions_are_pairs_of_rows(tmp_path):
    model, path = sv.models.build("mlp", latent_dim=2), tmp_path / "page.png"
    x = np.random.default_rng(0).random((5, 1, 28, 28), dtype="float32")
    plots.reconstructions(model, x, path, names=[f"test {i}" for i in range(5)], columns=3)
    picture = np.asarray(Image.open(path))
    sheet = picture[-8 - 4 * (4 * 29 + 1) : -8, -8 - 4 * (3 * 29 + 1) : -8][::4, ::4]
    expected = plots.to_uint8(np.concatenate([x, model.reconstruct(x)]), (0, 1))[:, 0].astype(int)
    for i in range(5):
        for part in (0, 1):  # the image, its reconstruction
            top, left = 1 + 29 * (2 * (i // 3) + part), 1 + 29 * (i % 3)
            there = sheet[top : top + 28, left : left + 28]
            assert np.abs(there - expected[i + 5 * part]).max() <= 1
    assert (sheet[2 * 29 + 1 :, 2 * 29 + 1 :] == 64).all(), "the rest of the last rows is empty"


@pytest.mark.parametrize("count", [64, 300, 5000])
def test_more_images_are_shown_smaller(tmp_path, count):
    model = sv.models.build("mlp", latent_dim=2)
    plots.samples(model, np.zeros((count, 2), "float32"), tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as page:
        width, height = page.size
    assert max(width, height) < 2200 and (count < 100 or min(width, height) > 900)


def test_labels_without_space_are_left_out(tmp_path):
    def dark_words(columns):
        plots.image_table(np.zeros((1, 70, 1, 28, 28)), tmp_path / "x.png", columns=columns)
        above = np.asarray(Image.open(tmp_path / "x.png"))[:26]
        dark = (above < 128).any(axis=0)
        gaps = np.diff(np.flatnonzero(np.concatenate([[True], dark, [True]])))
        return np.count_nonzero(gaps > 7) - 1  # between words are gaps

    assert dark_words([f"t={i / 70:.2f}" for i in range(70)]) == 35, "every second one"


# --- Limits --------------------------------------------------------------------------------------

TOO_LARGE = [
    ("sample", ["--count", 1_000_000]),
    ("sample", ["--columns", 1000, "--count", 1000]),
    ("sample", ["--count", 10**12, "--npz", "x.npz"]),
    ("sample", ["--count", 10**12, "--folder", "x"]),
    ("reconstruct", ["--count", 232_070]),
    ("reconstruct", ["--count", 10**12, "--npz", "x.npz"]),
    ("traverse", ["--steps", 1000]),
    ("traverse", ["--steps", 10**12, "--npz", "x.npz"]),
    ("interpolate", ["--steps", 100_000]),
    ("interpolate", ["--steps", 10**12, "--npz", "x.npz"]),
    ("interpolate", ["--steps", 600, "--pairs", "0,1"]),
    ("interpolate", ["--steps", 10**12, "--pairs", "0,1", "--npz", "x.npz"]),
    ("traverse", ["--steps", 600, "--dimensions", "0,1"]),
    ("manifold", ["--size", 1000]),
    ("manifold", ["--size", 10**9, "--npz", "x.npz"]),
]


@pytest.mark.parametrize(("name", "options"), TOO_LARGE)
def test_what_is_too_large_is_refused_before_any_work(command, monkeypatch, name, options):
    for work in ("posterior_codes", "prior_codes", "decoded_parts", "plane", "line", "traversal"):
        monkeypatch.setattr(latents, work, None)
    monkeypatch.setattr("scratchvae.runs.run.Run.load_data", None)
    tracemalloc.start()
    status, out, said = command(name, *options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (status, out, os.listdir()) == (2, "", [])
    assert f"{options[0]}: " in said and "expected at most" in said and "choose fewer" in said
    page = "--npz" not in options and "--folder" not in options
    others = ", or write them with --npz FILE.npz" + " or --folder DIR" * (name == "sample")
    assert said.endswith(f": choose fewer{others if page else ''}")
    for given in ("--pairs", "--dimensions", "--columns"):
        assert (f"{given} and " in said or f"and {given}: " in said) == (given in options)
    assert peak < 20e6


@pytest.mark.parametrize("option", ["--npz", pytest.param("--folder", marks=pytest.mark.slow)])
def test_many_samples_take_little_memory(command, monkeypatch, option):
    """8,000 images of floats would take 25 MB more."""
    monkeypatch.setattr(Image.Image, "save", lambda *arguments: None)  # it takes time
    command("sample", "--count", 2, option, "warm-up.npz")  # imports
    tracemalloc.start()
    status, _, said = command("sample", "--count", 8000, option, "x.npz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert status == 0, said
    assert peak < 20e6  # 14 MB alone, 18 MB after other tests in the same process


def test_to_uint8_makes_no_large_copies():
    images = np.full((4096, 1, 28, 28), 0.5, "float32")
    tracemalloc.start()
    pixels = plots.to_uint8(images, (0, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (pixels == 128).all() and peak < 0.6 * images.nbytes


@pytest.mark.parametrize("data_range", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_to_uint8_returns_the_bytes_that_batches_scaled(data_range, dtype):
    images = np.arange(256, dtype="uint8").reshape(1, 16, 16)
    x = next(sv.data.batches(images, 1, data_range=data_range, dtype=dtype))
    np.testing.assert_array_equal(plots.to_uint8(x, data_range)[:, 0], images)


# --- Folders and arrays --------------------------------------------------------------------------


def test_samples_in_a_folder_are_those_of_npz(command, arrays):
    expected, _ = arrays("sample", "--count", 12, "--seed", 3)
    status, out, _ = command("sample", "--count", 12, "--seed", 3, "--folder", "new", "--json")
    found = json.loads(out)
    assert status == 0 and found == {"file": "new", "shape": [12, 1, 28, 28]}
    names = sorted(os.listdir("new"))
    assert names == [f"{i:06}.png" for i in range(12)] and sorted(os.listdir()) == ["a.npz", "new"]
    pixels = plots.to_uint8(expected["images"], expected["data_range"])[:, 0]
    for name, image in zip(names, pixels, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(f"new/{name}")), image)


def test_colours_are_in_their_channels(tmp_path):
    images = np.zeros((1, 3, 4, 6), "float32")
    images[0, :, 1, 2] = 1, 0, 0.2
    pictures.write_each(tmp_path / "new", iter([images]), (0, 1))
    with Image.open(tmp_path / "new/000000.png") as picture:
        assert picture.size == (6, 4) and picture.getpixel((2, 1)) == (255, 0, 51)


@pytest.mark.parametrize("path", [".", "empty", "empty/"])
def test_an_empty_folder_is_filled(command, path):
    os.makedirs(path, exist_ok=True)
    before = os.stat(path).st_ino
    assert command("sample", "--count", 2, "--folder", path)[0] == 0
    assert sorted(os.listdir(path)) == ["000000.png", "000001.png"]
    assert os.stat(path).st_ino == before


def test_a_folder_is_not_mixed_with_other_files(command):
    os.mkdir("full")
    for path in ("full/000007.png", "file"):
        with open(path, "w") as file:
            file.write("mine")
    for path in ("full", "file"):
        status, _, said = command("sample", "--folder", path)
        expected = f"--folder: expected a new or an empty folder, got {path}"
        assert (status, said) == (2, f"scratchvae sample: error: {expected}")
    assert os.listdir("full") == ["000007.png"]
    status, _, said = command("sample", "--folder", "no/new")
    assert status == 2 and said.endswith("no/new: there is no folder no: create it first")


def test_what_a_killed_command_left_in_a_folder_is_no_file_of_the_users(command):
    os.makedirs("empty/.empty.0123456789abcdef.tmp")
    assert command("sample", "--count", 1, "--folder", "empty")[0] == 0
    assert os.listdir("empty") == ["000000.png"]


@pytest.mark.parametrize("path", ["new", "."])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_folder_is_whole_or_not_there(command, monkeypatch, error, path):
    saved = Image.Image.save

    def fail_at_the_third(self, path, *rest):
        if str(path).endswith("000002.png"):
            raise error
        saved(self, path, *rest)

    monkeypatch.setattr(Image.Image, "save", fail_at_the_third)
    status, out, said = command("sample", "--folder", path)
    assert status in (2, 130) and out == "" and os.listdir() == []
    assert status == 130 or said.endswith(f"{path}: cannot be written: No space left on device")


# --- Images across the test set ------------------------------------------------------------------


def test_default_images_lie_across_the_test_set(arrays):
    for name, options, count in (
        ("reconstruct", [], 8),
        ("reconstruct", ["--count", 5], 5),
        ("interpolate", [], 10),
    ):
        found, _ = arrays(name, *options)
        np.testing.assert_array_equal(found["test_indices"], spread(count, 20))


def test_one_test_image_makes_no_pair(command, monkeypatch, run):
    one = open_run(run, "numpy").test_images()[:1]
    monkeypatch.setattr("scratchvae.runs.run.Run.test_images", lambda self: one)
    status, _, said = command("interpolate")
    assert status == 2 and said.endswith("--pairs: expected at least 2 test images, found 1")


def test_the_pictures_of_a_run_show_images_across_the_test_set(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "reconstructions", lambda model, x, path: shown.append(x))
    images = np.arange(200, dtype="uint8")[:, None, None] + np.zeros((28, 28), "uint8")
    model, rng = sv.models.build("mlp"), np.random.default_rng(0)
    trainer = SimpleNamespace(model=model, test_images=images, picture_rng=rng)
    leave_pictures(trainer, tmp_path)
    np.testing.assert_allclose(shown[0][:, 0, 0, 0] * 255, spread(8, 200), rtol=1e-6)


def test_dimensions_and_codes_come_from_images_across_the_test_set(arrays, monkeypatch, run):
    monkeypatch.setattr(pictures, "LOOKED_AT", 4)
    monkeypatch.setattr(pictures, "MOST_CODES", 6)
    opened, seen = open_run(run, "numpy"), []
    codes_of = pictures.codes_of
    monkeypatch.setattr(pictures, "codes_of", lambda r, x: seen.append(x) or codes_of(r, x))
    arrays("traverse")
    np.testing.assert_array_equal(seen[0], opened.test_images()[spread(4, 20)])
    found, _ = arrays("manifold", "--size", 2)
    chosen = found["test_indices"]
    np.testing.assert_array_equal(chosen, spread(6, 20))
    np.testing.assert_array_equal(found["labels"], opened.load_data().test_labels[chosen])
    np.testing.assert_allclose(found["codes"], codes_of(opened, opened.test_images()[chosen]))


# --- Your own files ------------------------------------------------------------------------------


@pytest.fixture
def digits(tmp_path_factory):
    """A bar on a transparent ground, 40 x 40: white.png and black.png."""
    folder = tmp_path_factory.mktemp("files")
    for name, level in (("white", 255), ("black", 0)):
        pixels = np.full((40, 40, 4), (level, level, level, 0), "uint8")
        pixels[10:30, 15:25, 3] = 255
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize(
    ("name", "background", "ground", "bar"),
    [
        ("white", None, 0, 1),
        ("white", "black", 0, 1),
        ("white", "51,51,51", 0.2, 1),
        ("black", "white", 1, 0),
        ("black", "0,0,255", 0.114, 0),
    ],
)
def test_a_transparent_digit_lies_on_the_background(arrays, digits, name, background, ground, bar):
    options = [] if background is None else ["--background", background]
    found, said = arrays("reconstruct", "--files", digits / f"{name}.png", *options)
    (image,) = found["originals"]
    assert said == ""
    assert image[0, 0, 0] == pytest.approx(ground, abs=0.005)
    assert image[0, 14, 14] == pytest.approx(bar, abs=0.005)


@pytest.mark.parametrize(("name", "background"), [("white", "white"), ("black", "black")])
def test_a_picture_of_one_colour_is_a_warning(arrays, digits, name, background):
    path, level = digits / f"{name}.png", 255 if background == "white" else 0
    _, said = arrays("reconstruct", "--files", path, "--background", background)
    advice = "if it is transparent, try another --background"
    assert said == f"warning: {path}: every pixel is {level}; {advice}"


@pytest.mark.parametrize(
    "options", [["--image-size", "28"], ["--image-size", "16x8", "--grey"], ["--no-grey"]]
)
def test_the_model_decides_the_size_and_colours_of_files(command, digits, options):
    name = options[0].replace("--no-", "--")
    status, _, said = command("reconstruct", "--files", digits / "white.png", *options)
    assert (status, os.listdir()) == (2, [])
    assert said == (
        f"scratchvae reconstruct: error: {name}: files become images of the model's size and "
        f"colours (28x28, grey): leave {name} out"
    )


def test_the_range_of_arrays_is_not_that_of_files(tmp_path):
    """Unless an option says so."""
    np.save(tmp_path / "a.npy", np.random.default_rng(0).random((20, 8, 8)))
    data = f"arrays:{tmp_path / 'a.npy'}"
    run = trained(tmp_path / "run", model="mlp", data=data, value_range="0,1")
    Image.fromarray(np.full((8, 8), 51, "uint8")).save(tmp_path / "mine.png")
    files = ["--files", str(tmp_path / "mine.png"), "--npz", str(tmp_path / "a.npz")]
    for options, level in ([], 0.2), (["--value-range", "0,102"], 0.5):
        assert main(["reconstruct", str(run), "--engine", "numpy", *files, *options]) == 0
        with np.load(tmp_path / "a.npz") as arrays:
            np.testing.assert_allclose(arrays["originals"], level, atol=0.005)


def test_files_become_images_like_those_of_the_run(tmp_path, monkeypatch):
    """Their size, which need not be square, and the range of their values."""
    (tmp_path / "scans").mkdir()
    rng = np.random.default_rng(0)
    for i in range(20):
        pixels = rng.integers(0, 101, (20, 30), "uint8")
        pixels[0, 0] = 100
        Image.fromarray(pixels).save(tmp_path / f"scans/{i:02}.png")
    data = {"data": f"images:{tmp_path / 'scans'}", "image_size": "12x8", "grey": True}
    run = trained(tmp_path / "run", model="mlp", value_range="0,100", **data)
    Image.fromarray(np.full((16, 24), 50, "uint8")).save(tmp_path / "mine.png")
    words = ["reconstruct", str(run), "--engine", "numpy", "--npz", str(tmp_path / "a.npz")]
    assert main([*words, "--files", str(tmp_path / "mine.png")]) == 0
    with np.load(tmp_path / "a.npz") as arrays:
        assert arrays["originals"].shape == (1, 1, 8, 12)
        np.testing.assert_allclose(arrays["originals"], 0.5, atol=0.005)
    for command in ("reconstruct", "sample", "interpolate", "traverse"):
        out = tmp_path / f"{command}.png"
        assert main([command, str(run), "--engine", "numpy", "--out", str(out)]) == 0
