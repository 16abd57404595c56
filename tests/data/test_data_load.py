"""load and load_or_glyphs, and the imports that the package may have."""

import ast
import sys
from pathlib import Path

import pytest
from PIL import Image

import scratchvae.data as data
from scratchvae.data import DataNotFound, load_glyphs, sources
from scratchvae.data.sources import SOURCES


@pytest.fixture
def offline(cache, monkeypatch):
    """No mirrors at all, and an empty cache."""
    for name, source in list(SOURCES.items()):
        monkeypatch.setitem(SOURCES, name, source._replace(mirrors=()))


@pytest.fixture
def small_glyphs(monkeypatch):
    """A small set of glyphs."""

    def load():
        return data.glyphs.load_glyphs(train_count=10, test_count=10)

    monkeypatch.setattr(data, "load_glyphs", load)


def test_loads_by_name(tmp_path, cache, write_mnist, small_glyphs):
    for name in ("mnist", "fashion-mnist"):
        write_mnist(tmp_path / name)
        assert data.load(name, tmp_path).name == name
    assert data.load("glyphs").name == "glyphs"
    write_mnist(cache / "mnist")
    assert data.load().name == "mnist"


@pytest.fixture
def photographs(tmp_path, cache):
    """Three pictures with a partition file, as in CelebA."""
    folder = tmp_path / "celeba" / "img_align_celeba"
    folder.mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (178, 218), (80 * i, 0, 0)).save(folder / f"{i}.jpg")
    (tmp_path / "celeba" / "list_eval_partition.txt").write_text("0.jpg 0\n1.jpg 1\n2.jpg 2\n")
    return folder


def test_loads_colour_images_by_name(photographs, tmp_path, monkeypatch):
    folder = data.load(f"images:{photographs}")
    assert (folder.name, len(folder.train_images), len(folder.test_images)) == (
        "images:img_align_celeba", 2, 1,
    )  # fmt: skip
    celeba = data.load("celeba", tmp_path)
    assert (celeba.name, len(celeba.train_images), len(celeba.test_images)) == ("celeba", 1, 1)
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path))
    assert data.load("celeba").name == "celeba"
    with pytest.raises(FileNotFoundError, match="celeba is not in "):
        data.load("celeba", photographs)


def test_a_folder_that_holds_celeba_keeps_its_split(photographs, tmp_path):
    assert data.load(f"images:{tmp_path}").name == "celeba"
    assert data.load(f"images:{photographs}").name == "images:img_align_celeba"
    with pytest.raises(FileNotFoundError, match="found an empty name"):
        data.load("images:")
    (tmp_path / "celeba" / "list_eval_partition.txt").unlink()
    with pytest.raises(FileNotFoundError, match="expected the folder img_align_celeba/ .* and the"):
        data.load(f"images:{tmp_path}")  # an incomplete CelebA is not taken for a folder of images


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        *((name, set()) for name in (*SOURCES, "arrays:x.npz", "python:mine")),
        ("faces", {"NumPy"}),
        ("glyphs", {"NumPy", "Pillow", "FreeType", "matplotlib", "fonts"}),
        *((name, {"Pillow", "libjpeg", "libwebp"}) for name in ("celeba", "images:photos")),
    ],
)
def test_the_libraries_that_decide_the_pixels(name, libraries):
    assert data.made_with(name).keys() == libraries
    assert data.made_with(name, image_size=None, grey=False, value_range="0,1") == (
        data.made_with(name)
    )
    for option in ({"image_size": "28"}, {"grey": True}, {"crop": "none"}):
        found = data.made_with(name, **option)
        assert found.keys() == libraries | {"Pillow"} and all(found.values())


def test_refuses_unknown_names():
    with pytest.raises(ValueError, match="'cifar'; choose from .* celeba, faces, images:FOLDER"):
        data.load("cifar")
    with pytest.raises(ValueError, match="unknown data set 'cifar'"):
        data.load_or_glyphs("cifar")


def test_glyphs_step_in_and_say_so_once(offline, small_glyphs, capsys):
    assert data.load_or_glyphs("fashion-mnist").name == "glyphs"
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(
        "Using digits drawn from fonts (glyphs) instead: fashion-mnist is not on this machine and "
        "could not be downloaded. Tried:\n"
    )
    assert err.endswith("t10k-labels-idx1-ubyte.gz\n")
    assert err.count("Tried:") == err.count("Using digits") == 1


def test_only_absence_leads_to_the_glyphs(tmp_path, offline, write_mnist, monkeypatch):
    with pytest.raises(FileNotFoundError):
        data.load_or_glyphs("mnist", tmp_path / "nothing")
    with pytest.raises(data.DataNotFound):
        data.load("fashion-mnist")
    write_mnist(tmp_path)
    assert data.load_or_glyphs("mnist", tmp_path).name == "mnist"
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"damaged")
    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="not an IDX file"):
        data.load_or_glyphs("mnist")


def modules_imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name.split(".")[0]) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, "." * node.level + (node.module or "").split(".")[0]


@pytest.mark.parametrize(
    "path", sorted(Path(data.__file__).parent.glob("*.py")), ids=lambda path: path.name
)
def test_imports_little_and_the_slow_things_late(path):
    tree = ast.parse(path.read_text())
    lazy = {
        node
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        or (isinstance(function, ast.If) and ast.unparse(function.test) == "TYPE_CHECKING")
        for node in ast.walk(function)
    }
    for node, name in modules_imported(tree):
        if name.startswith("."):
            doors = {"..output"} | ({"..backend"} if path.name == "batches.py" else set())
            within = not name.startswith("..") or name in doors
            assert within, f"{path.name} imports from outside the package: {name}"
        else:
            allowed = {"numpy"} | ({"pooch", "PIL"} if node in lazy else set())
            assert name in sys.stdlib_module_names | allowed, f"{path.name} imports {name}"


@pytest.mark.parametrize("trouble", [PermissionError(13, "no"), RuntimeError("no home directory")])
def test_a_place_that_cannot_be_looked_into_is_one_of_those_tried(monkeypatch, tmp_path, trouble):
    """An unreadable home folder or an unknown user in $SCRATCHVAE_DATA does not stop the search."""

    def spelled(folder, name):
        raise trouble

    monkeypatch.setenv("SCRATCHVAE_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))  # without MNIST
    monkeypatch.setattr(sources, "_spelled", spelled)
    monkeypatch.setattr(sources, "fetch", lambda source, folder: ["the mirror: asleep"])
    with pytest.raises(
        DataNotFound, match=r"SCRATCHVAE_DATA = .*: (\[Errno 13\]|no home)"
    ) as error:
        sources.find_files("mnist")
    assert "the mirror: asleep" in str(error.value)


def test_without_a_home_there_are_still_glyphs(monkeypatch):
    import pooch

    def os_cache(name):
        raise RuntimeError("could not determine the home directory")

    monkeypatch.delenv("SCRATCHVAE_DATA", raising=False)
    monkeypatch.setattr(pooch, "os_cache", os_cache)
    with pytest.raises(DataNotFound, match="the cache: could not determine the home") as error:
        sources.find_files("mnist")
    assert "Put these files into a folder that you name" in str(error.value)
    for _ in range(2):
        assert len(load_glyphs(train_count=10, test_count=10).train_images) == 10
