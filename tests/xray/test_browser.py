"""The page in Chromium: its numbers, its walk, its addresses, and what axe-core says of it."""

import base64
import json

import numpy as np
import pytest
from steps import EACH_ON_ONE_WORKER, a_batch, a_model

from scratchvae import layers
from scratchvae.xray import page
from scratchvae.xray.page import Content, rendered
from scratchvae.xray.record import record

pytestmark = [pytest.mark.browser, pytest.mark.filterwarnings("default")]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """name -> the page of a model as a file, and the recorded step as `Content`; made once."""
    made = {}

    def of(name):
        if name not in made:
            model = a_model(name)
            file = tmp_path_factory.mktemp("xray") / f"{name}.html"
            content = Content(record(model, *a_batch(model)))
            file.write_text(rendered(content, name, ""), encoding="utf-8")
            made[name] = file, content
        return made[name]

    return of


@pytest.fixture
def opened(chromium, pages):
    """Opens a model's page; at the end there must have been no error and no request."""
    contexts, problems = [], []

    def request(route):
        if not route.request.url.startswith(("file:", "data:", "blob:")):
            problems.append(f"request of {route.request.url}")
        route.continue_()

    def opened(name, address="", **options):
        context = chromium.new_context(**options)
        contexts.append(context)
        context.route("**/*", request)
        tab = context.new_page()
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        file = name if hasattr(name, "as_uri") else pages(name)[0]
        tab.goto(file.as_uri() + address)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert not problems


def shown(tab):
    """The view that is shown."""
    return tab.evaluate("[...document.querySelectorAll('.view')].find((v) => !v.hidden).id")


@pytest.mark.parametrize("name", EACH_ON_ONE_WORKER)
def test_every_node_s_numbers_are_the_tensors(name, opened, pages):
    tab = opened(name)
    _, content = pages(name)
    assert tab.locator("#map .node").count() == len(content.nodes)
    numbers = """async () => {
      const found = {};
      for (const k of xray.tensors.keys()) {
        const numbers = await xray.numbers(k);
        if (numbers && "stored" in xray.tensors[k])
          found[k] = btoa(String.fromCharCode(...new Uint8Array(numbers.buffer.slice(0, 4096))));
      }
      return found;
    }"""
    found = tab.evaluate(numbers)
    compared = 0
    for forward, backward in content.ops.values():
        arrays = forward.inputs | forward.results | (backward.results if backward else {})
        for tensor, a in arrays.items():
            k = content.explained[forward.name]["tensors"][tensor]
            if str(k) in found and np.ndim(a):
                stored = content.tensors.about[k]["stored"]
                expected = np.ascontiguousarray(a[: stored[0]]).tobytes()[:4096]
                assert base64.b64decode(found[str(k)]) == expected, (forward.name, tensor)
                compared += 1
    assert compared >= 2 * len(content.ops)


@pytest.mark.parametrize("name", EACH_ON_ONE_WORKER)
def test_the_facts_on_the_map_are_those_of_the_arrays(name, opened, pages):
    tab = opened(name)
    _, content = pages(name)
    facts = tab.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#map .node')].map((n) =>"
        " [n.id, [...n.querySelectorAll('.facts span')].map((s) => s.textContent)]))"
    )
    for node in content.nodes:
        a = np.asarray(next(iter(node.results.values())))
        if a.ndim == 0:
            assert facts[node.id] == [str(a)]
            continue
        shape = f"({', '.join(map(str, a.shape))}{',' * (a.ndim == 1)})"
        assert facts[node.id][0] == shape
        words = " ".join(facts[node.id][1:])
        mean, std = (float(n) for n in facts[node.id][1].split(" ± "))
        wide = a.astype("float64")
        assert mean == pytest.approx(wide.mean(), rel=6e-3, abs=1e-12)
        assert std == pytest.approx(wide.std(), rel=6e-3, abs=1e-12)
        low, high = (float(n) for n in facts[node.id][2].split(" to "))
        assert low == pytest.approx(a.min(), rel=6e-3) and high == pytest.approx(a.max(), rel=6e-3)
        zeros = round(100 * float((a == 0).mean()))
        assert (f"{zeros} % zeros" in words) == (a == 0).any()


@pytest.mark.parametrize("name", EACH_ON_ONE_WORKER)
def test_the_arrow_keys_walk_all_lines(name, opened, pages):
    tab = opened(name)
    _, content = pages(name)
    expected = [f"#{'/'.join(map(str, stop))}" for stop in content.stops]
    assert tab.evaluate("location.hash") == ""
    walked = tab.evaluate(
        """async () => {
          const walked = [];
          for (const _ of xray.data.stops) {
            const shown = new Promise((done) => addEventListener("hashchange", done, {once: true}));
            const key = new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true});
            document.body.dispatchEvent(key);
            await shown;
            const marked = document.querySelectorAll(".view:not([hidden]) .current").length;
            walked.push([location.hash, marked > 0]);
          }
          return walked;
        }"""
    )
    assert [address for address, _ in walked] == expected
    assert all(marked for _, marked in walked)
    for key, address in (("ArrowLeft", expected[-2]), ("Home", expected[0]), ("Escape", "#map")):
        tab.keyboard.press(key)
        tab.wait_for_function(f"location.hash === '{address}'")
    tab.wait_for_function("!document.getElementById('map').hidden")


def test_up_and_down_go_from_function_to_function(opened):
    tab = opened("mlp", "#fc1/forward/1")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("location.hash").startswith("#model/forward/")
    tab.keyboard.press("ArrowDown")
    assert tab.evaluate("location.hash").startswith("#relu1/forward/")


@pytest.mark.parametrize(
    ("address", "view"),
    [
        ("#map", "map"), ("#proof", "proof"), ("#help", "help"),
        ("#deconv1/backward/3", "section-deconv1"),
        ("#source/conv_transpose2d/0", "source/conv_transpose2d"), ("#nothing/here/1", "map"),
        ("#update/update/2", "section-update"), ("", "map"),
    ],
)  # fmt: skip
def test_addresses_survive_a_reload(address, view, opened):
    tab = opened("tiny", address)
    assert shown(tab) == view
    tab.reload()
    assert shown(tab) == view
    assert tab.evaluate("location.hash") == address


def test_back_goes_back_and_the_slider_goes_anywhere(opened):
    tab = opened("tiny", "#conv1/forward/2")
    tab.keyboard.press("ArrowRight")
    for position in ("40", "41"):  # all positions of the slider are one entry of the history
        tab.locator(".walk input").fill(position)
    tab.wait_for_function("location.hash === xray.walk.to(41)")
    tab.go_back()
    tab.wait_for_function("location.hash === '#conv1/forward/2' && xray.walk.at < 40")
    assert tab.locator(".walk input").input_value() == str(
        tab.evaluate("xray.walk.positions.get('#conv1/forward/2')")
    )


def test_the_table_of_the_update_has_the_weight_s_numbers(opened, pages):
    tab = opened("tiny", "#update/update/0")
    _, content = pages("tiny")
    parameter, element = tab.locator("#update-table select").all()
    parameter.select_option("conv2.weight")
    tab.wait_for_function("document.querySelectorAll('#update-table option').length > 200")
    k = int(element.input_value())
    flat = content.update["rows"]["conv2.weight"]["chosen"][k]
    cells = tab.locator("#update-table td:nth-child(2)").all_text_contents()
    before = content.step.model.conv2.weight.value.ravel()[flat]
    after = content.step.updated.conv2.weight.value.ravel()[flat]
    assert np.float32(cells[0]) == before and np.float32(cells[-2]) == after


def test_the_proof_s_table_has_the_samples(opened, pages):
    tab = opened("tiny", "#proof")
    _, content = pages("tiny")
    rows = tab.locator("#proof tbody tr").all_text_contents()
    samples = [sample for item in content.whole for sample in item.samples]
    assert len(rows) == len(samples)
    for row, sample in zip(rows, samples, strict=True):
        assert str(sample.recorded) in row and str(sample.complex_step) in row
    assert tab.locator("#map .fails").count() == 0


def test_a_wrong_backward_turns_its_proof_red(opened, tmp_path, monkeypatch):
    right = layers.conv2d_backward

    def wrong(dy, cache, need_dx=True):
        dx, dw, db = right(dy, cache, need_dx)
        return dx, dw, db if dw.shape[1] == 1 else 1.01 * db

    monkeypatch.setattr(layers, "conv2d_backward", wrong)
    model = a_model("tiny")
    file = tmp_path / "wrong.html"
    file.write_text(page(model, *a_batch(model)), encoding="utf-8")
    tab = opened(file)
    assert tab.locator("#map .verdict.fails").inner_text() == (
        "Wrong gradients: conv2, conv2.bias. The proof"
    )
    assert tab.locator("#map .node.fails").evaluate_all("(n) => n.map((e) => e.id)") == [
        "conv2/backward"
    ]
    tab.evaluate("location.hash = '#conv2/backward/0'")
    tab.wait_for_selector("#section-conv2 .proof.fails")
    assert tab.locator("#section-conv2 .proof.fails h4").inner_text().split()[-2:] == [
        "bias",
        "WRONG",
    ]
    colour = "getComputedStyle(document.querySelector('#section-conv2 .proof.fails strong')).color"
    assert tab.evaluate(colour) == "rgb(180, 0, 47)"


def test_not_finite_arrays_are_marked(opened, tmp_path):
    model = a_model("mlp")
    model.fc2.weight.value[0, 0] = np.nan
    file = tmp_path / "nan.html"
    file.write_text(page(model, *a_batch(model)), encoding="utf-8")
    tab = opened(file)
    first = tab.locator("#map .node.forward.bad").first
    assert first.get_attribute("id") == "fc2/forward"
    assert "NaN or infinite" in first.inner_text()


def test_an_array_can_be_enlarged_with_the_keyboard(opened):
    tab = opened("tiny", "#conv1/forward/0")
    tab.locator("#section-conv1 button.tensor").first.focus()
    tab.keyboard.press("Enter")
    dialog = tab.locator("dialog[open]")
    assert "It begins with" in dialog.inner_text()
    tab.keyboard.press("ArrowRight")  # a key for the box, not for the walk
    assert tab.evaluate("location.hash") == "#conv1/forward/0"
    tab.keyboard.press("Escape")
    assert tab.locator("dialog[open]").count() == 0
    assert shown(tab) == "section-conv1"


VIEWS = [
    "#map", "#model/backward/3", "#conv2/backward/4", "#pool/forward/0", "#proof",
    "#update/update/3", "#help", "#source/conv2d/1",
]  # fmt: skip


@pytest.mark.parametrize("address", VIEWS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(address, theme, opened):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    tab = opened("tiny", address, color_scheme=theme)
    tab.wait_for_timeout(300)
    found = axe.run(tab).response["violations"]
    assert not found, json.dumps(
        [[v["id"], v["help"], [n["html"][:200] for n in v["nodes"][:3]]] for v in found], indent=1
    )


@pytest.mark.parametrize("address", VIEWS)
def test_nothing_is_wider_than_a_phone(address, opened):
    tab = opened("tiny", address, viewport={"width": 390, "height": 800})
    tab.wait_for_timeout(300)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390


EXPLAINED = ("y", "z", "dx", "dmu", "dlogvar", "dlogits", "dprediction", "dreconstruction", "dkl")


@pytest.mark.parametrize("name", EACH_ON_ONE_WORKER)
def test_the_terms_of_a_number_add_up_to_it(name, opened, pages):
    """Of five numbers of every result of every op; the numbers themselves are those in Python."""
    tab = opened(name)
    _, content = pages(name)
    rng = np.random.default_rng(0)
    explain = """async ([name, result, indices]) => Promise.all(indices.map(async (index) => {
      const { value, sum, size, terms } = await xray.explain(name, result, index);
      return [value, sum, size, terms.length];
    }))"""
    for node, (forward, backward) in content.ops.items():
        for result, a in (forward.results | (backward.results if backward else {})).items():
            if result not in EXPLAINED:
                continue
            indices = [[0, *(int(rng.integers(n)) for n in a.shape[1:])] for _ in range(5)]
            if forward.op == "mean_logvar" and result == "y":  # its first axis is no batch
                indices = [[0, 0], [1, 0]]
            found = tab.evaluate(explain, [node, result, indices])
            for index, (value, total, size, count) in zip(indices, found, strict=True):
                assert value == a[tuple(index)] and count > 0, (node, result, index)
                assert abs(total - value) <= 1e-5 * max(size, abs(value)), (node, result, index)


def test_pointing_at_a_number_writes_out_its_terms(opened, pages):
    tab = opened("tiny", "#conv2/forward/0")
    _, content = pages("tiny")
    section = tab.locator("#section-conv2 .why")
    grid = section.locator("canvas[tabindex]").first
    grid.scroll_into_view_if_needed()
    grid.click(position={"x": 3, "y": 3})
    for key in ("ArrowRight", "ArrowDown", "ArrowDown"):
        tab.keyboard.press(key)
    fields = [field.input_value() for field in section.locator("input[type=number]").all()]
    assert fields == ["0", "0", "2", "1"]
    assert tab.evaluate("location.hash") == "#conv2/forward/0"  # the keys have not walked
    y = content.ops["conv2"][0].results["y"][0, 0, 2, 1]
    assert f"In this step: {y!s}." in section.inner_text()
    first = section.locator("tbody tr").first.inner_text()
    assert "x[0, " in first and "w[0, " in first


def test_a_number_that_is_not_the_sum_of_its_terms_is_red(opened, pages):
    tab = opened("tiny", "#map")
    k = pages("tiny")[1].explained["conv2"]["tensors"]["y"]
    tab.evaluate("async (k) => { (await xray.numbers(k)).fill(7); }", k)
    tab.evaluate("location.hash = '#conv2/forward/0'")
    tab.wait_for_selector("#section-conv2 .why .wrong")
    assert "more than rounding" in tab.locator("#section-conv2 .why .wrong").inner_text()


def test_the_map_is_where_it_was_after_a_look_at_an_op(opened):
    tab = opened("tiny")
    tab.evaluate("scrollTo(0, 700)")
    tab.evaluate("location.hash = '#deconv1/backward/0'")
    tab.wait_for_function("location.hash && scrollY < 600")
    tab.go_back()
    tab.wait_for_function("scrollY === 700")


def test_the_current_line_is_never_under_the_bars(opened):
    tab = opened("tiny", "#step/forward/0", viewport={"width": 1000, "height": 600})
    hidden = tab.evaluate("""async () => {
      const hidden = [];
      const [header, bar] = ["header", ".walk"].map((each) => document.querySelector(each));
      for (const stop of xray.data.stops) {
        const shown = new Promise((done) => addEventListener("hashchange", done, {once: true}));
        location.hash = xray.walk.address(stop);
        if (location.hash !== "#step/forward/0") await shown;
        const current = document.querySelector(".view:not([hidden]) li.current");
        const [row, top, bottom] = [current, header, bar].map((e) => e.getBoundingClientRect());
        if (row.top < top.bottom || row.bottom > bottom.top) hidden.push(location.hash);
      }
      return hidden;
    }""")
    assert hidden == []
