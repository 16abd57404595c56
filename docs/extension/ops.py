"""A page for each op, made from its own files; and for the two updates, SGD and Adam."""

from __future__ import annotations

import html
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

import scratchvae as sv
from scratchvae import optim, plots
from scratchvae.exercises.bugs import location
from scratchvae.exercises.course import COURSE
from scratchvae.exercises.gallery import GALLERY
from scratchvae.gradcheck.check import op_subject
from scratchvae.gradcheck.differences import error_curve
from scratchvae.ops import CASES, OPS
from scratchvae.xray.source import View, sources

from . import xrays
from .docstrings import as_markdown
from .repository import DOCS, ROOT, body_of, rewritten, write

if TYPE_CHECKING:
    from sphinx.application import Sphinx

GROUPS = {
    "Activations": ("relu", "leaky_relu", "sigmoid", "tanh"),
    "Linear": ("linear",),
    "Convolutions": ("conv2d", "conv_transpose2d"),
    "Pooling and sizes": ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "upsample_nearest"),
    "Normalisation": ("batch_norm", "batch_norm_leaky_relu"),
    "The latent code": ("mean_logvar", "reparameterize"),
    "Losses": ("bce", "mse", "kl", "kl_free_bits", "elbo"),
    "Updates": ("sgd_step", "adam_step"),
}
NEW = tuple(op for op in OPS if not any(op in group for group in GROUPS.values()))
OUT = DOCS / "ops"
TIMES = ROOT / "benchmarks/results/ops.txt"
TITLE = re.compile(r"^## (.*)\n", re.MULTILINE)


class Mistake(NamedTuple):
    text: str
    file: str
    diff: str
    test: str  # its name
    test_file: str
    bug: int  # its number, for `scratchvae exercise --bug`


@dataclass
class Page:
    """What the template shows of an op."""

    name: str
    file: str
    text: str  # a docstring: a sentence, the formulas, remarks
    forward: str
    backward: str = ""
    naive: str = ""
    derivation: str = ""
    derivation_page: str = ""
    kernels: list[View] = field(default_factory=list)
    curve: str = ""
    times: list[str] = field(default_factory=list)
    mistakes: list[Mistake] = field(default_factory=list)
    exercise: str = ""  # its name
    xray: str = ""

    @property
    def summary(self) -> str:
        """The docstring's first paragraph."""
        return as_markdown(self.text.partition("\n\n")[0])

    @property
    def formula(self) -> str:
        """The rest of the docstring, without the line that names the derivation."""
        rest = self.text.partition("\n\n")[2]
        return as_markdown(re.sub(r"^Derivation: .*\n", "", rest, flags=re.MULTILINE))

    @property
    def doors(self) -> list[tuple[str, str]]:
        """Links to the parts of the page that a reader may look for."""
        found = [("X-ray: each line with its numbers", f"site:{self.xray}")] if self.xray else []
        found += [("derivation", "#derivation")] if self.derivation else []
        found += [("kernels", "#kernels"), ("whole file", f"repo:{self.file}#L-1")]
        found += [("gradient check", "#gradient-check")] if self.curve else []
        found += [("mistakes", "#mistakes")] if self.mistakes else []
        return found + ([("exercise", "#exercise")] if self.exercise else [])


def page_of_op(op: str) -> Page:
    """The page of an op, without the picture of its gradient check."""
    module = OPS[op]
    forward, backward, naive = (
        _source(module, f"{op}_{e}") for e in ("forward", "backward", "naive")
    )
    title, derivation = derivations().get(op, ("", ""))
    kernels = [view for view in sources(op) if view.title != "naive loops"]
    return Page(
        name=op,
        file=f"scratchvae/ops/{op}.py",
        text=inspect.cleandoc(module.__doc__ or ""),
        forward=forward,
        backward=backward,
        naive=naive,
        derivation=derivation,
        derivation_page=f"/backward.md#{_slug(title)}",
        kernels=kernels,
        curve=f"{op}-step.png",
        times=times(op),
        mistakes=[*mistakes(op, kernels)],
        exercise=op if op in COURSE else "",
        xray=xrays.addresses().get(op, ""),
    )


def page_of_update(name: str) -> Page:
    """The page of sgd_step or adam_step."""
    function = body_of(getattr(optim, name))
    source = inspect.getsource(function)
    kernels = [view for view in sources("optim") if view.title != "naive loops"]
    return Page(
        name=name,
        file="scratchvae/optim.py",
        text=inspect.cleandoc(function.__doc__ or ""),
        forward=re.sub(r'\n    """.*?"""\n', "\n", source, flags=re.DOTALL).strip(),
        kernels=kernels,
        exercise=name.removesuffix("_step"),
        xray=xrays.addresses()["optim"] if name == "adam_step" else "",
    )


def _source(module: ModuleType, name: str) -> str:
    function = getattr(module, name, None)
    return inspect.getsource(body_of(function)).strip() if function else ""


@cache
def derivations() -> dict[str, tuple[str, str]]:
    """op -> title and text of the section of docs/backward.md that shows its backward."""
    _, *parts = TITLE.split((DOCS / "backward.md").read_text(encoding="utf-8"))
    found = {}
    for title, text in zip(parts[::2], parts[1::2], strict=True):
        for op in re.findall(r"^# scratchvae/ops/(\w+)\.py: \1_backward$", text, re.MULTILINE):
            found[op] = title, rewritten(text.strip(), "docs/backward.md")
    return found


def _slug(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


@cache
def _timed() -> list[str]:
    return TIMES.read_text(encoding="utf-8").splitlines() if TIMES.exists() else []


def times(op: str) -> list[str]:
    """The lines of benchmarks/results/ops.txt about an op, below those on the machine; or none."""
    found = [line for line in _timed() if line.split()[:1] == [op]]
    return _timed()[:2] + found if found else []


def mistakes(op: str, kernels: list[View]) -> Iterator[Mistake]:
    """The faults of the gallery in the files of an op, or judged as it; its own file first."""
    files = {f"scratchvae/ops/{op}.py", *(view.file for view in kernels)}
    numbers = {name: k for k, name in enumerate(GALLERY, 1)}
    found = [f for f in GALLERY.values() if f.subject == op or location(f) in files]
    for fault in sorted(found, key=lambda fault: location(fault).startswith("kernels")):
        signed = [
            f"{sign}{line}"
            for before, after in fault.changes
            for sign, text in (("-", before), ("+", after))
            for line in text.splitlines()
        ]
        test_file, _, test = fault.killed_by.partition("::")
        name = test.partition("[")[0] or test_file
        text, diff = html.escape(fault.mistake), "\n".join(signed)
        yield Mistake(text, location(fault), diff, name, test_file, numbers[fault.name])


def draw_curve(op: str) -> None:
    """Draw the errors of numeric derivatives by step size, unless the picture is up to date."""
    picture = OUT / f"{op}-step.png"
    if picture.exists() and picture.stat().st_mtime > Path(OPS[op].__file__ or "").stat().st_mtime:
        return
    with sv.using("numpy"):  # other kernels would be compiled for it
        subject = op_subject(op, CASES[op][0], "float64", seed=0)
        shown = [name for name, gradient in subject.gradients.items() if gradient.any()][:3]
        curves = [error_curve(subject, name) for name in shown]
    plots.errors_by_step(subject.name, curves, picture)


def make_pages(app: Sphinx) -> None:
    OUT.mkdir(exist_ok=True)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    template = environment.get_template("op.myst.jinja")
    pages = {}
    groups = {**GROUPS, "Others": NEW} if NEW else GROUPS
    for name in (name for group in groups.values() for name in group):
        if name in OPS:
            draw_curve(name)
        pages[name] = page = page_of_op(name) if name in OPS else page_of_update(name)
        write(OUT / f"{name}.myst", template.render(op=page))
    shown = {group: [pages[name] for name in names] for group, names in groups.items()}
    write(OUT / "index.myst", environment.get_template("index.myst.jinja").render(groups=shown))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", make_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
