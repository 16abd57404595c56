"""`scratchvae xray`: which model, images and optimizer a page shows; and `show` in a notebook."""

import json
import os
import shutil
import subprocess
import sys
import webbrowser
from html.parser import HTMLParser

import numpy as np
import pytest
from idx_files import write_digits
from numpy.testing import assert_array_equal
from small_runs import trained, write_photographs
from xray_pages import data_of, unpacked

import scratchvae as sv
from scratchvae.__main__ import main
from scratchvae.commands import xray
from scratchvae.runs import open_run
from scratchvae.runs.checkpoint import below, read_checkpoint
from scratchvae.xray.notebook import show

FRESH = "The weights are fresh (seed 0), and"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("data") / "digits")


@pytest.fixture(scope="module")
def runs(tmp_path_factory, digits):
    """Three steps an epoch: with Adam, in black and white with AdamW, and with SGD."""
    root, tiny = tmp_path_factory.mktemp("runs"), {"model": "tiny", "data_dir": str(digits)}
    binary = {"binarize": True, "optimizer": "adamw", "weight_decay": 0.1, "dtype": "float64"}
    sgd = {"optimizer": "sgd", "momentum": 0.5, "lr": 1e-4, "clip_norm": 5.0}
    return {
        "adam": trained(root / "adam", **tiny, epochs=2, lr=2e-3),
        "binary": trained(root / "binary", **tiny, **binary, seed=4),
        "sgd": trained(root / "sgd", **tiny, **sgd),
    }


@pytest.fixture(autouse=True)
def alone(tmp_path, monkeypatch):
    """An empty folder, no data on the machine, and no browser."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))
    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
    monkeypatch.setattr(webbrowser, "open", None)


@pytest.fixture
def given(monkeypatch, capsys):
    """Run the command with a stand-in for the page, which takes no time. Returns what the page is
    made of by name, with the result of --json."""
    names = ("model", "x", "eps", "optimizer", "max_norm", "title", "images")

    def given(*words):
        found = {}

        def page(*parts):
            found.update(zip(names, parts, strict=True))
            return "<p>page</p>"

        monkeypatch.setattr(xray, "page", page)
        assert main(["xray", *map(str, words), "--json"]) == 0
        return found, json.loads(capsys.readouterr().out)

    return given


@pytest.fixture
def refused(tmp_path, monkeypatch, capsys):
    """Run a command that ends with status 2 before a page is made; return its message."""

    def refused(*words):
        monkeypatch.setattr(xray, "page", None)
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as end:
            main(["xray", *map(str, words)])
        out, err = capsys.readouterr()
        assert (end.value.code, out, sorted(tmp_path.rglob("*"))) == (2, "", before)
        return err.splitlines()[-1].removeprefix("scratchvae xray: error: ")

    return refused


def copied(run, name="run"):
    """A copy of a run in the current folder, to change it."""
    return shutil.copytree(run, name, ignore=shutil.ignore_patterns("pictures"))


# --- A model with fresh weights ------------------------------------------------------------------


def small_set(config):
    """In place of `load_data`: three images of the model's usual size."""
    shape = (3, 3, 64, 64) if config.data == "faces" else (3, 28, 28)
    images = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    return sv.data.Dataset(config.data, images, images)


@pytest.mark.parametrize(
    ("name", "data", "optimizer", "lr"),
    [
        ("mlp", "glyphs", "Adam", 1e-3),
        ("conv", "glyphs", "Adam", 1e-3),
        ("tiny", "glyphs", "Adam", 1e-3),
        ("ae", "glyphs", "Adam", 1e-3),
        ("celeba", "faces", "Adam", 5e-3),
        ("skip", "faces", "AdamW", 1e-3),
    ],
)
def test_every_model_has_its_images_and_the_optimizer_of_train(
    given, monkeypatch, name, data, optimizer, lr
):
    monkeypatch.setattr(xray, "load_data", small_set)
    found, result = given(name)
    model = sv.models.build(name)
    assert_array_equal(found["model"].flat_value, model.flat_value)
    assert found["x"].shape == (2, *model.image_shape)
    assert (result["model"], result["data"], result["images"]) == (name, data, [0, 1])
    assert found["optimizer"].model is found["model"] and found["optimizer"].steps == 0
    assert (type(found["optimizer"]).__name__, found["optimizer"].lr) == (optimizer, lr)
    assert found["title"] == type(model).__name__
    assert found["images"] == (
        f"Test images 0 and 1 of {data}. {FRESH} {optimizer} (learning rate {lr:g}) takes its "
        "first step."
    )
    assert result["run"] is result["weights"] is result["checkpoint"] is None


def test_mnist_is_used_if_it_is_here(given, monkeypatch, digits):
    expected = sv.data.load("mnist", digits).test_images[:2, None] / np.float32(255)
    found, result = given("--data-dir", digits)
    assert_array_equal(found["x"], expected)
    assert (result["model"], result["data"]) == ("mlp", "mnist")
    monkeypatch.setenv("SCRATCHVAE_DATA", str(digits))
    found, _ = given()
    assert_array_equal(found["x"], expected)


@pytest.mark.parametrize(
    ("options", "images", "words"),
    [
        ("--image 3", [3, 4], "Test images 3 and 4 of mnist."),
        ("--image 19 --batch 1", [19], "Test image 19 of mnist."),
        ("--image 4 --batch 3", [4, 5, 6], "Test images 4 to 6 of mnist."),
        ("--batch 20", [*range(20)], "Test images 0 to 19 of mnist."),
    ],
)
def test_the_images_begin_with_the_one_that_is_asked_for(given, digits, options, images, words):
    found, result = given("tiny", "--data-dir", digits, *options.split())
    expected = sv.data.load("mnist", digits).test_images[images]
    assert_array_equal(found["x"], expected[:, None] / np.float32(255))
    assert result["images"] == images and found["images"].startswith(words)


def test_the_seed_draws_weights_and_noise(given, digits):
    for seed in (0, 7):
        found, _ = given("tiny", "--data-dir", digits, "--seed", seed)
        model = sv.models.build("tiny", seed=seed)
        assert_array_equal(found["model"].flat_value, model.flat_value)
        assert_array_equal(found["eps"], model.noise(2, np.random.default_rng(seed)))
        assert f"(seed {seed})" in found["images"]


def test_a_model_is_made_for_the_images_of_options(given, tmp_path):
    photographs = f"images:{write_photographs(tmp_path / 'photographs')}"
    for options, shape in (
        (["celeba", "--image-size", "32"], (2, 3, 32, 32)),
        (["conv", "--image-size", "16x8", "--grey"], (2, 1, 8, 16)),
    ):
        found, _ = given(*options, "--data", photographs)
        assert found["x"].shape == shape
        assert (found["x"] < 0).any() == (found["model"].data_range == (-1, 1))
        assert "of images:photographs. " in found["images"]


# --- A run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind", "averages", "steps"),
    [
        ("adam", "Adam", ["m", "v"], 6),
        ("binary", "AdamW", ["m", "v"], 3),
        ("sgd", "SGD", ["velocity"], 3),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_a_run_has_its_own_weights_images_and_optimizer(
    given, runs, name, kind, averages, steps, finished
):
    folder = runs[name] if finished else copied(runs[name])
    run = open_run(folder, "numpy")
    if not finished:
        for file in ("weights.safetensors", "metrics.json"):
            os.remove(f"{folder}/{file}")
    found, result = given(folder, "--image", 2, "--seed", 5)
    model, optimizer = found["model"], found["optimizer"]
    assert_array_equal(model.flat_value, run.model.flat_value)
    expected = run.test_images()[2:4, None] / model.dtype.type(255)
    assert_array_equal(found["x"], expected)
    if name == "binary":
        assert {*found["x"].flat} == {0, 1} and found["x"].dtype == "float64"
    assert_array_equal(found["eps"], model.noise(2, np.random.default_rng(5)))

    file = f"{folder}/checkpoints/step-{steps:09}.safetensors"
    arrays, progress = read_checkpoint(file)
    saved = below("optimizer.", arrays)
    assert sorted(saved) == averages and type(optimizer).__name__ == kind
    for average, a in saved.items():
        assert a.any()
        assert_array_equal(vars(optimizer)[average], a)
    assert optimizer.steps == progress["step"] == result["steps"] == steps
    assert (optimizer.lr, optimizer.weight_decay) == (run.config.lr, run.config.weight_decay)
    assert name != "sgd" or optimizer.momentum == 0.5

    assert result["checkpoint"] == file and result["run"] == str(folder)
    assert result["weights"] == (f"{folder}/weights.safetensors" if finished else file)
    assert result["file"] == f"{folder}/pictures/xray.html" and os.path.exists(result["file"])
    assert found["title"] == f"Tiny of {folder}"
    state = (
        f"The weights, and {' and '.join(averages)} of {kind} (learning rate {optimizer.lr:g}), "
        f"are those of {folder} after {steps} steps."
    )
    assert found["max_norm"] == (5.0 if name == "sgd" else None)
    if name == "sgd":
        state += " Gradients are clipped to a norm of 5."
    assert found["images"] == f"Test images 2 and 3 of mnist. {state}"


@pytest.mark.parametrize(("finished", "name"), [(True, "step-000000006"), (False, "best")])
def test_the_averages_are_those_of_the_weights(given, runs, finished, name):
    """A finished run has weights of step 6; an unfinished one opens with its best, of step 3."""
    run = copied(runs["adam"])
    checkpoints = f"{run}/checkpoints"
    shutil.copy(f"{checkpoints}/step-000000003.safetensors", f"{checkpoints}/best.safetensors")
    if not finished:
        os.remove(f"{run}/weights.safetensors")
    found, result = given(run)
    arrays, progress = read_checkpoint(f"{checkpoints}/{name}.safetensors")
    assert_array_equal(found["optimizer"].m, arrays["optimizer.m"])
    assert result["steps"] == progress["step"] == (6 if finished else 3)
    assert result["checkpoint"] == f"{checkpoints}/{name}.safetensors"


@pytest.mark.parametrize("damage", ["none left", "damaged", "of another run"])
def test_without_a_checkpoint_the_optimizer_takes_its_first_step(given, runs, damage):
    run = copied(runs["adam"])
    for file in os.scandir(f"{run}/checkpoints"):
        os.remove(file)
        if damage == "damaged":
            shutil.copy(f"{run}/weights.safetensors", file)
        elif damage == "of another run":
            shutil.copy(runs["sgd"] / "checkpoints/step-000000003.safetensors", file)
    found, result = given(run)
    assert_array_equal(found["model"].flat_value, open_run(run, "numpy").model.flat_value)
    assert not found["optimizer"].m.any() and found["optimizer"].steps == 0
    assert result["checkpoint"] is None
    assert found["images"].endswith(
        f"The weights are those of {run}. No checkpoint has these weights, so Adam (learning rate "
        "0.002) takes its first step."
    )


def test_a_run_may_look_at_other_images(given, runs, tmp_path):
    photographs = f"images:{write_photographs(tmp_path / 'photographs')}"
    found, result = given(runs["adam"], "--data", photographs)
    assert found["x"].shape == (2, 1, 28, 28) and result["data"] == "images:photographs"


def test_a_folder_that_is_a_run_comes_before_the_model_of_this_name(given, runs, digits):
    os.mkdir("tiny")
    found, result = given("tiny", "--data-dir", digits)
    assert result["run"] is None and found["title"] == "Tiny"
    os.rmdir("tiny")
    copied(runs["adam"], "tiny")
    found, result = given("tiny")
    assert (result["run"], result["steps"], found["title"]) == ("tiny", 6, "Tiny of tiny")


# --- The file ------------------------------------------------------------------------------------


@pytest.mark.parametrize("json_too", [False, True])
def test_the_file_and_what_is_printed(digits, capsys, json_too):
    words = ["xray", "tiny", "--data-dir", str(digits), "--out", "here.html"]
    assert main([*words, *["--json"] * json_too]) == 0
    out, size = capsys.readouterr().out, os.path.getsize("here.html")
    assert os.listdir() == ["here.html"] and size < 5e6
    if json_too:
        found = json.loads(out)
        assert (found["file"], found["bytes"]) == ("here.html", size) and found["seconds"] > 0
    else:
        assert out == f"here.html: a training step of tiny, {size / 1e6:.1f} MB\n"
    with open("here.html", encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("<!DOCTYPE html>") and "Test images 0 and 1 of mnist. " in text


def test_the_default_file_is_in_the_current_folder(given, digits):
    with open("xray.html", "w") as file:
        file.write("before")
    _, result = given("tiny", "--data-dir", digits)
    assert result["file"] == "xray.html" and os.listdir() == ["xray.html"]
    with open("xray.html") as file:
        assert file.read() == "<p>page</p>"


def test_a_page_that_fails_leaves_the_one_before(digits, monkeypatch, capsys):
    with open("xray.html", "w") as file:
        file.write("before")

    def fail(*parts):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(xray, "page", lambda *parts: "new")
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(SystemExit):
        main(["xray", "tiny", "--data-dir", str(digits)])
    assert "xray.html: cannot be written: No space left on device" in capsys.readouterr().err
    assert os.listdir() == ["xray.html"]
    with open("xray.html") as file:
        assert file.read() == "before"


def test_a_folder_may_have_any_name(runs):
    run = copied(runs["adam"], os.fsdecode(b"<b>\xff"))
    assert main(["xray", run]) == 0
    with open(f"{run}/pictures/xray.html", encoding="utf-8") as file:
        text = file.read()
    assert "<h1" in text and "<b>\\udcff" not in text
    assert "Tiny of &lt;b&gt;\\udcff" in text


def test_open_shows_the_file_in_a_browser(given, digits, monkeypatch, tmp_path):
    opened = []
    monkeypatch.setattr(webbrowser, "open", lambda url: opened.append(url) or True)
    given("tiny", "--data-dir", digits, "--out", "a b.html", "--open")
    assert opened == [f"file://{tmp_path}/a%20b.html"]


@pytest.mark.parametrize("problem", [False, webbrowser.Error("none"), OSError("none")], ids=repr)
def test_without_a_browser_the_command_succeeds(digits, monkeypatch, capsys, problem):
    def no_browser(url):
        if problem:
            raise problem
        return False

    monkeypatch.setattr(webbrowser, "open", no_browser)
    monkeypatch.setattr(xray, "page", lambda *parts: "page")
    assert main(["xray", "tiny", "--data-dir", str(digits), "--open"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("xray.html: ")
    assert err == "no browser could be started: open xray.html yourself\n"


# --- The numbers on the page ---------------------------------------------------------------------


def test_the_page_of_a_run_shows_its_weights_and_averages(runs):
    """The table of the update: value, m and v before the step, of each chosen element."""
    run = runs["adam"]
    assert main(["xray", str(run)]) == 0
    text = (run / "pictures/xray.html").read_text("utf-8")
    assert f"Tiny of {run}" in text
    update = data_of(text)["update"]
    columns = [name for name, _ in update["columns"]]
    arrays, _ = read_checkpoint(run / "checkpoints/step-000000006.safetensors")
    m, v, start = arrays["optimizer.m"], arrays["optimizer.v"], 0
    for name, row in update["rows"].items():
        numbers = unpacked(row["numbers"], update["dtype"], (-1, len(columns))).T
        shown = {}
        for column, values in zip(columns, numbers, strict=True):
            shown.setdefault(column, values)  # as the first line with this name makes it
        chosen, value = row["chosen"], arrays[f"model.{name}"]
        assert_array_equal(shown["before"], value.ravel()[chosen], name)
        here = slice(start, start := start + value.size)
        assert_array_equal(shown["m"], m[here][chosen] * np.float32(0.9), name)
        assert_array_equal(shown["v"], v[here][chosen] * np.float32(0.999), name)
    assert start == m.size


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "megabytes"),
    [("mlp", 5), ("tiny", 5), ("ae", 5), ("conv", 12), ("celeba", 30), ("skip", 30)],
)
def test_the_page_of_every_model(name, megabytes, capsys):
    """On the images that it has without options, drawn digits or faces."""
    assert main(["xray", name, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["data"] == ("faces" if name in ("celeba", "skip") else "glyphs")
    assert found["bytes"] == os.path.getsize("xray.html") < megabytes * 1e6


# --- Errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "tiney",
            "unknown model or run 'tiney' (did you mean tiny?); expected a model (mlp, conv,",
        ),
        ("elsewhere", "skip, ae) or the folder of a run"),
        ("tiny --image -1", "argument --image: must be 0 or more, got -1 (see"),
        ("tiny --image 20", "--image: expected an index from 0 to 19, got 20"),
        ("tiny --image x", "argument --image: invalid int value: 'x' (see"),
        ("tiny --batch 0", "argument --batch: must be above 0, got 0 (see"),
        (
            "tiny --batch 21",
            "--batch: expected at most 20, because test image 19 is the last one, got 21",
        ),
        (
            "tiny --image 19",
            "--batch: expected at most 1, because test image 19 is the last one, got 2",
        ),
        (
            "celeba --image-size 32 --batch 1",
            "--batch: expected 2 or more for this model, got 1: batch_norm_leaky_relu_forward: "
            "training needs more than one value per channel, got x of shape (1, 512, 1, 1)",
        ),
        (
            "celeba --data mnist",
            "CelebA: image height and width must be multiples of 32, got 28 x 28; --image-size 32 "
            "fits",
        ),
        ("tiny --image-size 20", "got (1, 20, 20); --image-size 28 fits"),
        ("tiny --seed -1", "argument --seed: must be 0 or more, got -1 (see"),
        ("tiny --seed 99999999999999999999", "seed must be at most 9223372036854775807, got 9"),
        ("tiny --data no", "unknown data set 'no'; choose from mnist, "),
        ("tiny --background white", "background: expected image files, got mnist: leave"),
        ("tiny --out x.png", "argument --out: expected a file name that ends in .html, got x.png"),
        ("tiny --out no/x.html", "no/x.html: there is no folder no: create it first"),
        ("tiny --engine numba", "unrecognized arguments: --engine numba"),
    ],
)
def test_errors_are_one_line_and_nothing_is_written(refused, digits, words, said):
    target, *options = words.split()
    if "celeba --image-size" in words:
        options += ["--data", f"images:{write_photographs(digits.with_name('photographs'))}"]
    assert said in refused(target, "--data-dir", digits, *options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --image 20", "--image: expected an index from 0 to 19, got 20"),
        ("run --batch 21", "--batch: expected at most 20, because test image 19 is the last one,"),
        ("run --out run/checkpoints/x.html", "x.html is a file of the run itself: choose another"),
        ("run --out folder.html", "folder.html is a folder: give the name of a file"),
        ("tiny --out folder.html", "folder.html is a folder: give the name of a file"),
        ("runs", "unknown model or run 'runs' (did you mean run?); expected a model (mlp, conv"),
        ("run/", "run/config.json: "),
    ],
)
def test_errors_of_a_run(refused, runs, words, said):
    copied(runs["adam"])
    os.mkdir("folder.html")
    if words == "run/":
        with open("run/config.json", "a") as file:
            file.write("x")
    assert said in refused(*words.split())


def test_data_that_are_not_there_are_not_drawn_instead(refused, tmp_path):
    assert refused("tiny", "--data-dir", "no").startswith("mnist is not in ")


# --- Imports, and the notebook -------------------------------------------------------------------


def test_the_template_engine_is_imported_for_a_page_alone():
    code = (
        "import sys; from scratchvae.__main__ import make_parser; make_parser(); "
        "import scratchvae.xray.notebook; "
        "print([m for m in ('jinja2', 'pygments', 'markupsafe', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


@pytest.fixture(scope="module")
def shown():
    """`show` where there is no IPython."""
    model = sv.models.build("tiny")
    x = np.random.default_rng(0).random((2, 1, 28, 28), "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "IPython", None)
        return show(model, x, height=500), sv.xray.page(model, x)


def test_a_notebook_shows_the_page_in_a_frame(shown):
    found, expected = shown
    frames = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            frames.append((tag, dict(attributes)))

    parser = Parser()
    parser.feed(found._repr_html_())
    parser.close()
    ((tag, attributes),) = frames
    assert tag == "iframe" and attributes["title"] == "X-ray of a training step of Tiny"
    base = '<base href="about:srcdoc">'
    assert attributes["srcdoc"].count(base) == 1
    assert attributes["srcdoc"].replace(base, "") == found.page == expected
    assert "height: 500px" in attributes["style"]
    assert repr(found).startswith("<X-ray of a training step of Tiny: ")


@pytest.mark.browser
def test_links_in_a_notebook_stay_within_the_frame(shown, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("there is no chromium")
    notebook = tmp_path / "notebook.html"
    notebook.write_text(f"<h1>A notebook</h1>{shown[0]._repr_html_()}", "utf-8")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab, errors = browser.new_page(), []
        tab.on("pageerror", lambda error: errors.append(error))
        tab.goto(notebook.as_uri())
        _, frame = tab.frames
        frame.click("a[href='#proof'] >> visible=true")
        frame.wait_for_function("location.hash == '#proof'")
        frame.click("nav a >> nth=1")
        frame.wait_for_function("location.hash == '#step/forward/0'")
        tab.keyboard.press("ArrowRight")
        frame.wait_for_function("location.hash == '#step/forward/1'")
        assert frame.evaluate("document.querySelectorAll('.node').length") > 10
        assert (tab.url, errors) == (notebook.as_uri(), [])
        browser.close()
