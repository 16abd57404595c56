"""What docs/extension makes of files and docstrings, and docs/check_links.py, without Sphinx."""

import html
import sys
from pathlib import Path

import pytest

from scratchvae.exercises.bugs import bug
from scratchvae.exercises.gallery import GALLERY
from scratchvae.ops import OPS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs"))

import check_links  # noqa: E402
from extension import docstrings, ops, repository, xrays  # noqa: E402


@pytest.mark.parametrize(
    ("link", "expected"),
    [
        ("[b](backward.md)", "[b](/backward.md)"),
        ("[b](backward.md#kl)", "[b](/backward.md#kl)"),
        ("[`f`](../scratchvae/optim.py)", "[`f`](repo:scratchvae/optim.py)"),
        ("[b](../README.md#use-it)", "[b](repo:README.md#use-it)"),
        ("![a picture](leak.png)", "![a picture](/leak.png)"),
        ("[b](build.py)", "[b](repo:docs/build.py)"),
        ("[b](https://example.org/a.md)", "[b](https://example.org/a.md)"),
        ("[b](missing.md)", "[b](missing.md)"),
        ("[b](#kl)", "[b](#kl)"),
        ("`[b](backward.md)`", "`[b](backward.md)`"),
        ("\n```\n[b](backward.md)\n```\n", "\n```\n[b](backward.md)\n```\n"),
    ],
)
def test_links_are_written_for_every_page(link, expected):
    assert repository.rewritten(f"See {link}.", "docs/elbo.md") == f"See {expected}."


def test_links_of_another_folder_are_relative_to_it():
    assert repository.rewritten("[b](docs/elbo.md)", "README.md") == "[b](/elbo.md)"
    text = repository.rewritten("[b](../README.md)", "benchmarks/README.md")
    assert text == "[b](repo:README.md)"


@pytest.mark.parametrize(
    ("path", "page"),
    [
        ("scratchvae/ops/conv2d.py", "ops/conv2d"),
        ("scratchvae/ops/windows.py", "source/scratchvae/ops/windows.py"),
        ("scratchvae/ops", "ops/index"),
        ("examples/mnist_vae.py", "auto_examples/mnist_vae"),
        ("benchmarks/README.md", "repository/benchmarks/README"),
        ("kernels/cuda/relu.cu", "source/kernels/cuda/relu.cu"),
    ],
)
def test_every_file_has_a_page(path, page):
    assert repository.page_of(path) == page


def test_indented_text_in_a_docstring_is_preformatted():
    lines = ["Sums, as in", "", "    y = a*b", "", "    z = c*d", "", "of (N, *shape)."]
    lines += ["", "Parameters", "----------", "*x : array", "    Of x | y."]
    assert docstrings.as_rst(lines) == [
        *("Sums, as in", "", "::", "", "    y = a*b", "", "    z = c*d", "", r"of (N, \*shape)."),
        *("", "Parameters", "----------", "*x : array", r"    Of x \| y."),
    ]
    text = "Sums, as in\n\n    y = a*b\n\n    z = c*d\n\nof (N, *shape).\nSource: `a_b`."
    assert docstrings.as_markdown(text) == (
        "Sums, as in\n\n```text\ny = a*b\n\nz = c*d\n```\n\nof (N, \\*shape).\n\nSource: `a_b`."
    )


KNOWN = [op for op in OPS if op not in ops.NEW]


@pytest.mark.parametrize("op", KNOWN)
def test_the_page_of_an_op_has_its_parts(op, monkeypatch):
    monkeypatch.setattr(xrays, "addresses", dict)
    page = ops.page_of_op(op)
    assert page.summary and "```text" in page.formula
    assert f"def {op}_forward(" in page.forward and f"def {op}_backward(" in page.backward
    assert f"def {op}_naive(" in page.naive or not page.naive
    assert f"{op}_backward" in page.derivation and "](../" not in page.derivation
    assert page.kernels[-1].title.startswith("CUDA")
    assert page.exercise == op
    assert page.mistakes or op in ("batch_norm_leaky_relu",)


def test_every_mistake_of_an_op_is_on_its_page():
    for fault in GALLERY.values():
        if fault.subject in KNOWN:
            (shown,) = [m for m in ops.mistakes(fault.subject, []) if bug(m.bug) == fault]
            assert shown.text == html.escape(fault.mistake)


def test_the_times_of_an_op_stand_below_the_machine(monkeypatch):
    monkeypatch.setattr(ops, "_timed", lambda: ["a machine", "case", "kl 1", "kl_free_bits 2"])
    assert ops.times("kl") == ["a machine", "case", "kl 1"]
    assert ops.times("mse") == []


@pytest.mark.slow
def test_every_op_has_a_right_x_ray():
    assert [op for op in KNOWN if op not in xrays.addresses()] == []
    assert [content.wrong for content in xrays.contents().values()] == [[], []]


def test_dead_links_are_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<a id="x" href="b.html#y"></a><a href="#x"></a><a href="https://example.org"></a>'
        '<a href="b.html#z"></a><img src="c.png"><a href="#w"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="y"></p>')
    assert check_links.dead_links(tmp_path) == [
        "a.html: b.html#z: no such anchor",
        "a.html: c.png: no such file",
        "a.html: #w: no such anchor",
    ]
