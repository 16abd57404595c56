import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

import scratchvae as sv
from scratchvae import plots
from scratchvae.evaluation.latents import plane
from scratchvae.gradcheck.differences import Curve
from scratchvae.plots import curves
from scratchvae.plots.images import GREY, MARGIN


def pixels(path):
    return np.asarray(Image.open(path))


def sheet(path, rows, columns, height=28, width=28, zoom=4):
    """The images of a picture, its sheet's pixels as they were before they were enlarged, and the
    sheet's left and top edges; nothing is to the right of the sheet or below it but a margin."""
    picture = pixels(path)
    high, wide = zoom * (rows * (height + 1) + 1), zoom * (columns * (width + 1) + 1)
    edges = picture.shape[1] - wide - MARGIN, picture.shape[0] - high - MARGIN
    small = picture[edges[1] : -MARGIN : zoom, edges[0] : -MARGIN : zoom]
    assert (small[[0, -1]] == GREY).all() and (small[:, [0, -1]] == GREY).all()
    return small, *edges


def test_an_image_table_places_every_image(tmp_path):
    levels = np.array([0, 0.2, 0.4, 0.6, 1.0])
    images = np.broadcast_to(levels[:, None, None, None], (5, 1, 4, 6))
    plots.image_table([images[:3], images[3:]], tmp_path / "table.png")
    small, left, top = sheet(tmp_path / "table.png", 2, 3, 4, 6, zoom=21)
    assert (left, top) == (MARGIN, MARGIN)
    centres = [small[1 + 5 * r + 2, 1 + 7 * c + 3] for r in (0, 1) for c in range(3)]
    assert centres == [0, 51, 102, 153, 255, GREY]  # the last place stays empty


def test_an_image_table_takes_colour_and_other_ranges(tmp_path):
    path = tmp_path / "table.png"
    images = np.stack([np.full((4, 4), v) for v in (-1.0, 0.0, 2.0)])[None]
    plots.image_table([images], path, data_range=(-1, 1))
    assert sheet(path, 1, 1, 4, 4, zoom=32)[0][1, 1].tolist() == [0, 128, 255]
    with pytest.raises(ValueError, match="image_table: images must have 1 or 3 channels"):
        plots.image_table(np.zeros((1, 1, 2, 4, 4)), tmp_path / "no.png")


def test_labels_are_never_cut_off(tmp_path):
    path, image = tmp_path / "table.png", np.zeros((1, 1, 1, 4, 4))
    plots.image_table(image, path, ["a row of " + 9 * "long words "], ["i" * 60], title="W" * 60)
    picture = pixels(path)
    for edge in (picture[:MARGIN], picture[-MARGIN:], picture[:, :MARGIN], picture[:, -MARGIN:]):
        assert (edge == 255).all()


def rows_and_columns(monkeypatch):
    """A list of the labels of the pictures that are drawn from now on."""
    drawn = []

    def note(images, path, rows=(), columns=(), data_range=None, title=""):
        drawn.append((list(rows), list(columns), title))

    monkeypatch.setattr(plots.codes, "image_table", note)
    return drawn


@pytest.mark.parametrize("name", ["mlp", "conv", "ae"])
def test_pictures_of_a_model(tmp_path, name):
    model, path = sv.models.build(name, latent_dim=2), tmp_path / "picture.png"
    x = np.random.default_rng(0).random((4, 1, 28, 28), dtype="float32")
    plots.reconstructions(model, x, path)
    above = sheet(path, 2, 4)[0][1:29, 1:29]
    assert np.abs(above - 255 * x[0, 0]).max() <= 0.51
    plots.samples(model, model.noise(5, np.random.default_rng(0)), path, columns=3)
    small, left, top = sheet(path, 2, 3)
    assert left == MARGIN < top and (small[30:58, 59:87] == GREY).all()
    plots.manifold(model, path, size=4)
    picture = pixels(path)
    assert min(picture.shape) > 4 * 28 * 3 and (picture[-40:] < 128).any(), "the name of z[0]"


def test_pictures_are_labelled(monkeypatch):
    drawn = rows_and_columns(monkeypatch)
    vae, ae, skip = (sv.models.build(name) for name in ("mlp", "ae", "skip"))
    x, z = np.zeros((2, 1, 28, 28), "float32"), np.zeros((2, 3, 20), "float32")
    plots.reconstructions(vae, x, "")
    plots.reconstructions(vae, x, "", z[:, 0], ["file 1", "file 2"])
    plots.reconstructions(ae, x, "")
    plots.samples(vae, z[0], "")
    plots.samples(vae, z[0], "", temperature=0.5)
    codes, face = np.zeros((1, *skip.latent_shape), "float32"), np.zeros((1, 3, 64, 64), "float32")
    plots.samples(skip, codes, "")
    plots.samples(skip, codes, "", skips_from=face)
    plots.interpolation(vae, z, "")
    plots.interpolation(vae, z, "", [7, 9, 8, 3])
    plots.traversal(vae, z, "", [4, 0], [-2.5, 0, 2.5])
    assert drawn == [
        (["test images", "reconstructions, z = mu"], [], ""),
        (["images", "reconstructions, z ~ q(z|x)"], ["file 1", "file 2"], ""),
        (["test images", "reconstructions"], [], ""),
        ([], [], "3 decoded z ~ N(0, I)"),
        ([], [], "3 decoded z ~ N(0, 0.5\N{SUPERSCRIPT TWO} I)"),
        ([], [], "1 decoded z ~ N(0, I), no skips added"),
        ([], [], "1 decoded z ~ N(0, I), all with the skips of one image"),
        (["test 0 to 1", "test 2 to 3"], ["t = 0.00", "t = 0.50", "t = 1.00"], ""),
        (["test 7 to 9", "test 8 to 3"], ["t = 0.00", "t = 0.50", "t = 1.00"], ""),
        (["z[4]", "z[0]"], ["-2.5", "0", "2.5"], ""),
    ]


def test_an_interpolation_shows_the_decoded_codes(tmp_path):
    model = sv.models.build("mlp", seed=0)
    z = model.noise(6, np.random.default_rng(0))
    plots.interpolation(model, z.reshape(2, 3, 20), tmp_path / "interpolation.png")
    small, _, _ = sheet(tmp_path / "interpolation.png", 2, 3)
    expected = plots.to_uint8(model.generate(z), (0, 1))[:, 0].astype(int)
    for i, image in enumerate(expected):
        top, left = 1 + 29 * (i // 3), 1 + 29 * (i % 3)
        assert np.abs(small[top : top + 28, left : left + 28] - image).max() <= 1


def test_the_ticks_of_the_plane_stand_at_their_values(tmp_path, monkeypatch):
    """A tick of value z stands where an image of this z would have its middle."""
    drawn = []
    monkeypatch.setattr(plots.codes, "write", lambda *arguments: drawn.append(arguments))
    plots.manifold(sv.models.build("mlp", latent_dim=2), tmp_path / "plane.png", size=40)
    _, sheet, texts, _ = drawn[0]
    quantiles = sorted({a for a, _ in plane(40, "float64").tolist()})
    middles = (np.arange(40) + 0.5) / 40 * sheet.shape[1]
    x = {float(text): x for x, _, anchor, text in texts if anchor == "ma" and text != "z[0]"}
    y = {float(text): y for _, y, anchor, text in texts if anchor == "rm" and text != "z[1]"}
    assert [*x] == [*y] == [-2, -1, -0.5, 0, 0.5, 1, 2] and x[0] == y[0] == sheet.shape[1] / 2
    assert np.all(np.diff([*x.values()]) > 0) and np.all(np.diff([*y.values()]) < 0)  # y: upwards
    for value in (-1, -0.5, 0, 0.5, 1):
        assert x[value] == pytest.approx(np.interp(value, quantiles, middles), abs=1)


def test_manifold_needs_two_dimensions(tmp_path):
    with pytest.raises(ValueError, match=r"manifold: latent_shape must be \(2,\), got \(20,\)"):
        plots.manifold(sv.models.build("mlp"), tmp_path / "no.png")


def test_rows_with_labels(tmp_path):
    grey, colour = np.full((3, 3, 8, 8), 0.5), np.zeros((3, 3, 8, 8))
    colour[:, 0] = 1
    plots.image_table([grey, colour], tmp_path / "rows.png", ["grey", "red"])
    shown = {tuple(colour) for colour in pixels(tmp_path / "rows.png").reshape(-1, 3).tolist()}
    assert {(128, 128, 128), (255, 0, 0), (255, 255, 255), (0, 0, 0)} <= shown
    _, left, top = sheet(tmp_path / "rows.png", 2, 3, 8, 8, zoom=16)
    assert left > 30 and top == MARGIN
    plots.image_table([grey[:2], grey], tmp_path / "rows.png", columns=["a", "b", "c"])
    assert (sheet(tmp_path / "rows.png", 2, 3, 8, 8, zoom=16)[0][2:8, 20:26] == GREY).all()


DRAWING = """
import os, sys
import numpy as np
before = dict(os.environ)
from scratchvae import plots
plots.image_table(np.zeros((1, 1, 1, 4, 4)), sys.argv[1] + "/table.png", ["label"])
plots.code_scatter(np.zeros((2, 2)), np.arange(2), sys.argv[1] + "/codes.png", "codes")
assert "matplotlib.pyplot" not in sys.modules
assert os.environ["MPLBACKEND"] == before["MPLBACKEND"]
if before["MPLBACKEND"] == "TkAgg":  # a pyplot that is imported now uses it
    import matplotlib
    assert matplotlib.get_backend().lower() == "tkagg"
"""


@pytest.mark.parametrize("backend", ["Qt4Agg", pytest.param("TkAgg", marks=pytest.mark.slow)])
def test_pictures_need_no_backend_no_display_and_no_home(tmp_path, backend):
    """Qt4Agg is a backend that matplotlib no longer has."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir(mode=0o555)
    environment = {n: v for n, v in os.environ.items() if n not in ("DISPLAY", "MPLCONFIGDIR")}
    if backend == "Qt4Agg":
        home.touch()  # a file: no folder can be made in it
        environment |= {"HOME": str(home), "XDG_CONFIG_HOME": "", "XDG_CACHE_HOME": ""}
    root = str(Path(sv.__file__).resolve().parents[1])
    environment |= {"MPLBACKEND": backend, "PYTHONPATH": root}
    command = [sys.executable, "-c", DRAWING, str(tmp_path)]
    run = subprocess.run(command, env=environment, cwd=here, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert pixels(tmp_path / "table.png").size and pixels(tmp_path / "codes.png").size


NO_TABLES = {
    "rows without channels": ([np.zeros((3, 8, 8))], ValueError, r"got shapes \[\(3, 8, 8\)\]"),
    "one row": (np.zeros((3, 1, 8, 8)), ValueError, r"pass one row as \[images\]"),
    "images without channels": (np.zeros((3, 8, 8)), ValueError, r"as images\[:, None\]"),
    "nothing": ([], ValueError, r"got shapes \[\]"),
    "an empty row": ([np.zeros((0, 1, 8, 8))], ValueError, r"\[\(0, 1, 8, 8\)\]"),
    "two sizes": ([np.zeros((1, 1, 8, 8)), np.zeros((1, 1, 9, 9))], ValueError, "of one shape"),
    "two channels": ([np.zeros((1, 2, 8, 8))], ValueError, "must have 1 or 3 channels"),
    "bytes": ([np.zeros((1, 1, 8, 8), "uint8")], TypeError, "must be floats in data_range, got u"),
    "NaN": ([np.full((2, 1, 8, 8), np.nan)], ValueError, "got 128 pixels of NaN or infinity"),
    "infinity": ([np.full((2, 1, 8, 8), np.inf)], ValueError, "got 128 pixels of NaN or infinity"),
    "too many": ([np.zeros((1, 1, 2, 20_000))], ValueError, "expected at most 16,384 on a side"),
}


@pytest.mark.parametrize("what", NO_TABLES)
def test_what_is_no_table_is_refused_in_one_line(tmp_path, what):
    images, kind, said = NO_TABLES[what]
    with pytest.raises(kind, match=f"^image_table: .*{said}") as error:
        plots.image_table(images, tmp_path / "x.png")
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def every_picture(path):
    """A call of each function that draws a picture."""
    model, z = sv.models.build("mlp", latent_dim=2), np.zeros((1, 2, 2), "float32")
    losses = dict.fromkeys(["train_total", "train_reconstruction", "train_kl"], 1.0)
    history = [losses | {name.replace("train", "test"): 1.0 for name in losses}]
    x = np.zeros((2, 1, 28, 28), "float32")
    kernels = np.ones((2, 2, 3, 3))
    curve = Curve("dx", np.ones(3), np.ones(3), np.ones(3), np.ones(3), np.ones(3))
    return {
        "image_table": lambda: plots.image_table(x[None], path),
        "reconstructions": lambda: plots.reconstructions(model, x, path),
        "samples": lambda: plots.samples(model, z[0], path),
        "interpolation": lambda: plots.interpolation(model, z, path),
        "traversal": lambda: plots.traversal(model, z, path, [0], [-1, 1]),
        "manifold": lambda: plots.manifold(model, path, 2),
        "loss_curves": lambda: plots.loss_curves(history, path),
        "errors_by_step": lambda: plots.errors_by_step("conv2d", [curve], path),
        "kernel_gradients": lambda: plots.kernel_gradients("conv2d", kernels, kernels, path),
        "code_scatter": lambda: plots.code_scatter(z[0], np.arange(2), path, "codes"),
    }


@pytest.mark.parametrize("name", every_picture(""))
def test_a_picture_has_the_format_that_its_name_says(tmp_path, name):
    function = name if name in (*curves.__dict__, "manifold") else "image_table"
    with pytest.raises(ValueError, match=rf"^{function}: expected a path that ends in \.png, got "):
        every_picture(tmp_path / "x.jpg")[name]()
    assert not list(tmp_path.iterdir())
    if name in ("image_table", "code_scatter"):
        every_picture(tmp_path / "x.PNG")[name]()
        with Image.open(tmp_path / "x.PNG") as picture:
            assert picture.format == "PNG"


NAMES = [
    "a$b_$c",
    "$x_y$",
    "_hidden",
    "\udce9t\udcff",
    "кириллица",
    "漢字",
    "a\nb\tc\x00",
    "نص",
    "",
]


@pytest.mark.parametrize("name", NAMES)
def test_any_name_can_be_written(tmp_path, name, recwarn):
    image = np.zeros((1, 1, 1, 8, 8))
    plots.image_table(image, tmp_path / "table.png", [name], [name], title=name)
    codes, labels = np.zeros((3, 2)), np.array([0, 1, 1])
    plots.code_scatter(codes, labels, tmp_path / "codes.png", name, [name, "other"])
    assert not recwarn.list and len(list(tmp_path.iterdir())) == 2


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, instead of files."""
    drawn = []
    monkeypatch.setattr(curves, "save", lambda name, figure, path: drawn.append(figure))
    return drawn


def test_names_are_shown_as_they_are(figures):
    names = ["a$b_$c", "_hidden", "\udcff", "x" * 50]
    plots.code_scatter(np.zeros((4, 2)), np.arange(4), "x.png", "of a$b_$c", names)
    (figure,) = figures
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown == ["a$b_$c", "_hidden", r"\udcff", "x" * 24]
    texts = [*figure.legends[0].get_texts(), figure.axes[0].title]
    assert figure.axes[0].title.get_text() == "of a$b_$c"
    assert not any(text.get_parse_math() for text in texts)


SLOW = [pytest.param(count, marks=pytest.mark.slow) for count in (26, 47, 100)]


@pytest.mark.parametrize("count", [1, 10, 11, 62, *SLOW])
def test_every_class_has_a_colour_of_its_own_and_a_line_in_the_legend(figures, count):
    plots.code_scatter(np.zeros((count, 2)), np.arange(count), "x.png", "codes")
    (figure,) = figures
    colours = curves.class_colours(np.arange(count))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    others = distances[~np.eye(count, dtype=bool)]
    assert (others > (0.09 if count <= 62 else 0.05)).all()
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == [*map(str, range(count))]
    FigureCanvasAgg(figure).draw()
    box, page = legend.get_window_extent(), figure.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    assert figure.axes[0].get_window_extent().x1 < box.x0
    assert figure.axes[0].get_window_extent().width > 400


def test_codes_and_labels_must_fit():
    with pytest.raises(ValueError, match=r"^code_scatter: .* got shapes \(3, 2\) and \(2,\)"):
        plots.code_scatter(np.zeros((3, 2)), np.zeros(2, int), "x.png", "codes")
