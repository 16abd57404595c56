"""How sphinx-gallery runs the examples: for few epochs, on drawn images, in seconds each."""

from __future__ import annotations

import ast
import shutil
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import scratchvae as sv

from .repository import DOCS, ROOT

if TYPE_CHECKING:
    from sphinx.application import Sphinx

COPY = DOCS / "_examples"  # the examples run here and leave their results below runs/
FEW = ["--epochs", "3"]
ARGUMENTS = {  # in the order of the gallery
    "gradient_check": [],
    "minimal_vae": [*FEW, "--data-dir", "digits"],
    "mnist_vae": FEW,
    "tiny_vae": FEW,
    "autoencoder_vs_vae": FEW,
    "celeba_vae": [*FEW, "--batch-size", "32", "--data-dir", "faces"],
    "skip_vae": ["--epochs", "1", "--images", "64"],
}
seen: set[int] = set()  # when the pictures that have been shown were saved
HEADER = """Examples
========

Each page shows an example with what it prints and draws, and has it as a Python file and as a
notebook. Here the examples ran for one to three epochs, on few images, which the program has drawn.
So the site is built in minutes. ``--help`` lists the options of an example. In a checkout,
``python examples/mnist_vae.py`` trains for ten epochs on MNIST.
"""


def copy_examples(app: Sphinx, config: Any) -> None:
    """Copy the examples to a folder in which they may leave their results."""
    COPY.mkdir(exist_ok=True)
    for file in COPY.glob("*.py"):
        file.unlink()
    for file in (ROOT / "examples").glob("*.py"):
        shutil.copy2(file, COPY)
    (COPY / "GALLERY_HEADER.rst").write_text(HEADER, encoding="utf-8")


def arguments(gallery_conf: dict[str, Any], script_vars: dict[str, Any]) -> list[str]:
    """The command-line arguments of an example. Its earlier results are removed."""
    shutil.rmtree(COPY / "runs", ignore_errors=True)
    digits = sv.data.load("glyphs")
    vars(sv.data)["load_or_glyphs"] = lambda *_: digits  # the build downloads nothing
    source = Path(script_vars["src_file"])
    name = source.stem
    # sphinx-gallery empties it; the examples describe themselves with it in --help
    script_vars["example_globals"]["__doc__"] = ast.get_docstring(
        ast.parse(source.read_text("utf-8"))
    )
    if name == "minimal_vae":
        write_digits(COPY / "digits", digits)
    if name == "celeba_vae":
        write_faces(COPY / "faces", 320)
    return ARGUMENTS.get(name, FEW)


class ReadingOrder:
    """Sorts the examples as ARGUMENTS has them; new ones come last."""

    def __init__(self, folder: str) -> None:
        self.order = [*ARGUMENTS]

    def __call__(self, name: str) -> int:
        stem = name.removesuffix(".py")
        return self.order.index(stem) if stem in self.order else len(self.order)


def write_digits(folder: Path, digits: Any) -> None:
    """Drawn digits as the files of MNIST that minimal_vae.py reads."""
    folder.mkdir(exist_ok=True)
    for name, images in (("train", digits.train_images), ("t10k", digits.test_images)):
        header = struct.pack(">HBBIII", 0, 8, 3, len(images), 28, 28)
        pixels = np.ascontiguousarray(images, "uint8").tobytes()
        (folder / f"{name}-images-idx3-ubyte").write_bytes(header + pixels)


def write_faces(folder: Path, count: int) -> None:
    """Some drawn faces as a folder of images."""
    from PIL import Image

    folder.mkdir(exist_ok=True)
    for k, face in enumerate(sv.data.load("faces").train_images[:count]):
        Image.fromarray(face.transpose(1, 2, 0)).save(folder / f"{k:03}.png")


def pictures(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """An image scraper: the pictures that the example has saved since the last block."""
    from sphinx_gallery.scrapers import figure_rst

    saved = {file.stat().st_mtime_ns: file for file in (COPY / "runs").rglob("*.png")}
    new = [saved[time] for time in sorted(saved.keys() - seen)]
    seen.update(saved)
    targets = [shutil.copy(file, next(block_vars["image_path_iterator"])) for file in new]
    # Each on a row of its own.
    figures = [figure_rst([target], gallery_conf["src_dir"]) for target in targets]
    about = f"\n*After {FEW[1]} epochs at most, on few drawn images.*\n\n" if figures else ""
    return about + "".join(figures)


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("config-inited", copy_examples, priority=1)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
