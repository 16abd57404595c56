"""What results show in a notebook, as HTML; tests/test_notebooks.py runs one."""

import os
import re
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import scratchvae as sv
from scratchvae import output
from scratchvae.models.inspect import rows
from scratchvae.notebook import COLOURS, html_table, in_notebook


def text_of(html):
    return [re.sub("<.*?>", "", line) for line in html.splitlines()]


def luminance(colour):
    """As in WCAG 2."""
    levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


@pytest.mark.parametrize("style", COLOURS.values(), ids=[*COLOURS])
def test_colours_bring_their_own_background(style):
    """So it does not matter whether the notebook is dark."""
    text, background = map(luminance, re.findall("#[0-9a-f]{6}", style))
    assert (background + 0.05) / (text + 0.05) > 7


def test_all_text_is_escaped():
    html = html_table([["<b>", '"'], ["&", "<script>"]], "<i>", ["red"])
    assert "<b>" not in html and "<script>" not in html and "<i>" not in html
    assert html.count("&lt;") == 3 and html.count(COLOURS["red"]) == 1


def test_a_report_shows_verdicts_in_colours_and_what_is_wrong():
    x = np.ones((2, 3))
    right = sv.gradcheck.check(lambda a: (a * a, a), lambda dy, a: 2 * dy * a, x)
    assert f'{COLOURS["green"]}">ok</td>' in right._repr_html_()
    assert "<pre>" not in right._repr_html_() and repr(right) == str(right)

    def twice(a, b):
        return a * a + b, a

    with pytest.raises(sv.gradcheck.GradientError) as found:
        sv.gradcheck.check(twice, lambda dy, a: (dy, dy), x, x)
    html = found.value._repr_html_()
    assert COLOURS["red"] in html and COLOURS["green"] in html
    assert "the gradient of a, shape (2, 3), is wrong\n    at a[" in html
    assert "twice: central differences" in text_of(html)[0]


def test_names_in_a_report_are_escaped():
    result = sv.gradcheck.Result("<w>", (2,), 1e-7, "kinks", hint="<hint>")
    report = sv.gradcheck.Report("<f>", "central", [result], ["<fault>"], ["<note>"])
    html = report._repr_html_()
    assert COLOURS["yellow"] in html
    assert not re.search("<(w|f|fault|note|hint)>", html) and "&lt;fault&gt;" in html


@pytest.mark.parametrize("name", ["tiny", "celeba"])
def test_a_model_shows_its_layers(name):
    model = sv.models.build(name)
    before = model.state_dict()
    html = model._repr_html_()
    assert html.count("<tr>") == 1 + len(rows(model))
    assert f"{name.title()}: {model.flat_value.size:,} parameters in float32" in html.replace(
        "CelebA", "Celeba"
    )
    after = model.state_dict()
    assert all(np.array_equal(before[key], after[key]) for key in before)


def test_a_model_that_cannot_run_is_left_to_repr(monkeypatch):
    model = sv.models.build("tiny")
    monkeypatch.setattr(type(model), "forward", lambda *_: 1 / 0)
    assert model._repr_html_() is None and repr(model).startswith("Tiny(")


def test_losses_and_scales():
    losses = sv.ops.Losses(np.float32(105.5), 80.25, np.array(25.25))
    heading, numbers = re.findall("<tr>.*", losses._repr_html_())
    assert ">KL (nats per image)<" in heading
    assert re.findall(r">([\d.]+)<", numbers) == ["105.5", "80.25", "25.25"]
    html = sv.loss_scales(3 * 64 * 64, mean=0.00025)._repr_html_()
    assert ">1.536<" in html and ">0.00025<" in html


def test_losses_on_the_gpu(cupy_on_host):
    losses = sv.ops.Losses(*cupy_on_host.asarray([3.0, 2.0, 1.0]))
    assert ">3.0<" in losses._repr_html_()


def test_pictures_come_in_the_order_of_saving(tmp_path):
    assert sv.plots.Pictures(tmp_path)._repr_html_() == ""
    for second, name in enumerate(("b.png", "a&.png")):
        Image.new("L", (2, 2)).save(tmp_path / name)
        os.utime(tmp_path / name, (second, second))
    pictures = sv.plots.Pictures(tmp_path)
    html = pictures._repr_html_()
    assert re.findall("<p>(.*?)</p>", html) == ["b.png", "a&amp;.png"]
    assert html.count("data:image/png;base64,iVBOR") == 2
    assert repr(pictures) == f"{tmp_path / 'b.png'}\n{tmp_path / 'a&.png'}"


@pytest.fixture
def notebook(monkeypatch):
    """Make this process look like the kernel of a notebook; what is displayed."""
    displayed = []
    shell = SimpleNamespace(kernel=object())
    fake = SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", fake)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=displayed.append))
    return displayed


def test_tell_displays_results_in_a_notebook_and_prints_text(notebook, capsys):
    scales = sv.loss_scales(4, mean=1)
    output.tell(scales)
    output.tell("text")
    assert notebook == [scales] and capsys.readouterr().out == "text\n"


def test_outside_a_notebook_results_are_printed(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not in_notebook()
    output.tell(sv.loss_scales(4, mean=1))
    assert capsys.readouterr().out.startswith("Scales(elements=4, ")


@pytest.mark.parametrize("show", [True, False])
def test_a_notebook_gets_bars_without_a_terminal(notebook, capsys, show):
    with warnings.catch_warnings(record=True) as caught:
        assert [*output.progress("ab", "bar", show)] == ["a", "b"]
    out, err = capsys.readouterr()
    assert ("bar: " in out) == show and err == "" and caught == []


def test_a_log_file_gets_no_bars(capsys):
    assert [*output.progress("ab", "bar")] == ["a", "b"]
    assert capsys.readouterr() == ("", "")
