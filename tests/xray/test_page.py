"""The page: one file without a network, within its size, with the numbers of the arrays."""

import re

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from steps import a_batch, a_model
from xray_pages import data_of, unpacked

import scratchvae as sv
from scratchvae.xray.page import Content, page
from scratchvae.xray.record import record
from scratchvae.xray.tensors import facts, packed, picture

MEGABYTES = {"mlp": 5, "tiny": 5, "ae": 5, "conv": 12, "celeba": 30, "skip": 30}
LARGE = [pytest.param(name, marks=pytest.mark.slow) for name in ("conv", "celeba", "skip")]


def gradients_of(step):
    """The gradients of a step's parameters, computed again."""
    with sv.using("numpy"):
        model = a_model("tiny")
        model.loss(step.x, step.eps)
        model.backward()
    return [p.grad for p in model.parameters().values()]


@pytest.mark.parametrize("name", ["mlp", "tiny", "ae", *LARGE])
def test_a_page_is_one_file_that_needs_no_network(name):
    model = sv.models.build(name)  # in its usual size
    html = page(model, *a_batch(model))
    assert len(html.encode()) <= MEGABYTES[name] * 1e6
    assert not re.search(
        r"""(src|href)\s*=\s*["'](?!#|data:)|url\(|@import|\bfetch\(|import\(""", html
    )
    assert "http" not in re.sub(r"<(script|li|pre).*?</\1>", "", html, flags=re.S)


@pytest.mark.parametrize("name", ["tiny", "ae", pytest.param("skip", marks=pytest.mark.slow)])
def test_the_numbers_of_the_page_are_those_of_the_arrays(name):
    """Of every op: all inputs, results and gradients whose numbers the page has."""
    model = a_model(name)
    content = Content(record(model, *a_batch(model)))
    compared = 0
    for forward, backward in content.ops.values():
        tensors = content.explained[forward.name]["tensors"]
        arrays = forward.inputs | forward.results | (backward.results if backward else {})
        assert arrays.keys() <= tensors.keys()
        for tensor, a in arrays.items():
            k = tensors[tensor]
            about = content.tensors.about[k]
            assert about["shape"] == np.shape(a)
            if k in content.tensors.packed:
                shown = unpacked(content.tensors.packed[k], about["dtype"], about["stored"])
                assert_array_equal(shown, a[: len(shown)])
                compared += 1
    assert compared > 3 * len(content.ops)


def test_every_line_of_the_functions_is_there():
    model = a_model("tiny")
    html = page(model, *a_batch(model))
    text = re.sub(r"<[^>]*>", "", html)
    for source in ("y = xp.tensordot(cells, w, axes=((1, 4, 5), (1, 2, 3)))", "m *= beta1"):
        assert source in text
    assert "for n, o, i, j in product(range(N)" in text  # the naive loops
    assert "y[i] = x[i] &lt;= 0 ? T(0) : x[i];" in text  # a CUDA kernel


def test_the_update_of_a_weight_is_the_optimizer_s():
    model = a_model("tiny")
    step = record(model, *a_batch(model))
    update = Content(step).update
    names = [name for name, _ in update["columns"]]
    assert names == ["before", "g", "m", "m", "v", "v", "m_hat", "v_hat", "after", "change"]
    gradient = dict(zip(step.model.parameters(), gradients_of(step), strict=True))
    before, after = step.model.parameters(), step.updated.parameters()
    for name, row in update["rows"].items():
        chosen = row["chosen"]
        assert chosen == sorted({*chosen}) and row["largest"] in chosen
        numbers = unpacked(row["numbers"], update["dtype"], (len(chosen), len(names)))
        assert_array_equal(numbers[:, 0], before[name].value.ravel()[chosen])
        assert_array_equal(numbers[:, -2], after[name].value.ravel()[chosen])
        g = gradient[name].ravel()[chosen].astype("float64")  # Adam's first step, from its formula
        expected = {2: 0 * g, 3: 0.1 * g, 5: 0.001 * g**2, 6: g, 7: g**2}
        for column, value in expected.items():
            np.testing.assert_allclose(numbers[:, column], value, rtol=1e-4, atol=1e-12)
        moved = -1e-3 * g / (abs(g) + 1e-8)
        np.testing.assert_allclose(numbers[:, -1], moved, rtol=1e-2, atol=1e-7)


def test_titles_are_escaped():
    model = a_model("ae")
    html = page(model, *a_batch(model), title="<script>x</script>", images="a & b")
    assert "<script>x" not in html and "&lt;script&gt;x" in html and "a &amp; b" in html


def test_a_step_that_is_not_finite_has_a_page():
    model = a_model("mlp")
    model.fc2.weight.value[0, 0] = np.nan
    html = page(model, *a_batch(model))
    bad = [about for about in data_of(html)["tensors"] if about.get("bad")]
    assert bad and "nan" in html


def test_a_float64_model_has_a_page():
    model = a_model("ae", "float64")
    assert {about["dtype"] for about in data_of(page(model, *a_batch(model)))["tensors"]} >= {
        "float64"
    }


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_packed_numbers_come_back(dtype):
    a = (np.random.default_rng(0).standard_normal((3, 5, 2)) * 100).astype(dtype)
    assert_array_equal(
        unpacked(packed(a.transpose(2, 0, 1)), dtype, (2, 3, 5)), a.transpose(2, 0, 1)
    )


def test_facts():
    a = np.array([[0.0, 1.0, 0.0], [0.0, -3.0, np.inf]], "float32")
    assert facts(a) == {
        "shape": (2, 3), "dtype": "float32", "mean": pytest.approx(-0.4), "zeros": 0.6, "bad": 1,
        "std": pytest.approx(np.std([0, 1, 0, 0, -3])), "min": -3.0, "max": 1.0, "dead": 1,
        "first": ["0.0", "1.0", "0.0", "0.0"],
    }  # fmt: skip
    assert "dead" not in facts(np.zeros((2, 3)), weight=True)
    assert facts(np.float32(0.1)) == {"shape": (), "dtype": "float32", "value": pytest.approx(0.1)}
    assert facts(np.float32("nan"))["value"] == "nan"


@pytest.mark.parametrize(
    "a",
    [
        np.zeros((2, 3)), np.full((2, 1, 3, 3), np.nan), np.ones((2, 3, 4, 4, 2, 2)),
        np.ones((2, 70, 9, 9)), np.arange(5000.0), np.array([[np.inf, -1.0]]),
        np.zeros((2, 3, 1, 1, 1)), np.array([True, False]), np.arange(6).reshape(2, 3),
    ],
    ids=lambda a: f"{a.shape} {a.dtype}",
)  # fmt: skip
def test_every_array_has_a_small_picture(a):
    assert picture(a).startswith("data:image/png;base64,")
    assert len(picture(a, weight=a.ndim == 4)) < 30_000


def test_a_number_has_no_picture():
    assert picture(np.array(3.0)) == ""


@pytest.mark.parametrize("name", ["mlp", "tiny", "ae"])
def test_the_walk_passes_every_recorded_line(name):
    model = a_model(name)
    step = record(model, *a_batch(model))
    content = Content(step)
    assert len(content.stops) == len(step.lines) == len({*content.stops})
    listed = {
        (section.name, direction, stop)
        for section in content.sections
        for direction, listings in section.listings.items()
        for listing in listings
        for row in listing.rows
        for stop in row.stops
    }
    assert listed == {*content.stops}
    for where in {stop[:2] for stop in content.stops}:
        numbers = [k for *each, k in content.stops if tuple(each) == where]
        assert numbers == list(range(len(numbers)))
