"""The built site in Chromium: the ten ways of docs/find.myst, the search, phones, formulas."""

import os
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("SCRATCHVAE_SITE", ROOT / "site")).resolve()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.filterwarnings("default"),
    pytest.mark.skipif(not (SITE / "index.html").exists(), reason="the site is not built"),
]
QUESTIONS = re.findall(
    r"^\d+\. \*\*(.*?)\*\*(.*?)(?=^\d+\. |\Z)", (ROOT / "docs/find.myst").read_text(), re.M | re.S
)
ANSWERS = [
    "ops/batch_norm.html#derivation",
    "xray/other-ops.html#batch_norm/forward/0",
    "ops/conv2d.html#derivation",
    "exercises.html",
    "elbo.html",
    "gradients.html#check-your-own-backward",
    "own-data.html",
    "troubleshooting.html#the-loss-is-nan-or-inf",
    "ops/conv2d.html#kernels",
    "api/optim.html",
]


@pytest.fixture
def opened(chromium):
    """Opens a page of the site; at the end there must have been no error and no request."""
    contexts, problems = [], []

    def opened(address, **options):
        contexts.append(chromium.new_context(**options))
        page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda request: problems.append(request.url))
        page.goto(f"file://{SITE}/{address}")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert [p for p in problems if not p.startswith(("file:", "data:", "blob:"))] == []


def test_there_is_an_answer_to_every_question():
    assert len(QUESTIONS) == len(ANSWERS) == 10


@pytest.mark.parametrize(
    ("steps", "answer"), [(q[1], a) for q, a in zip(QUESTIONS, ANSWERS, strict=False)]
)
def test_the_clicks_lead_to_the_answer(opened, steps, answer):
    start, *clicks = (" ".join(step.split()) for step in steps.split("→"))
    assert start == "Front page" and len(clicks) <= 4
    page = opened("index.html", viewport={"width": 1400, "height": 900})
    for click in clicks:
        text = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", click)
        links = page.locator("a:visible").filter(has_text=re.compile(f"^{re.escape(text)}$", re.I))
        links.first.click()
    page.wait_for_url(f"file://{SITE}/{answer}")
    fragment = answer.partition("#")[2]
    shown = "h2:visible" if "xray" in answer else f"[id='{fragment}']" if fragment else "h1"
    assert page.locator(shown).first.is_visible()


def test_the_search_finds_pages(opened):
    page = opened("index.html", viewport={"width": 1400, "height": 900})
    page.locator("input[name=q]").fill("reparameterize")
    page.keyboard.press("Enter")
    page.locator("ul.search a[href^='ops/reparameterize']").first.wait_for()


@pytest.mark.parametrize(
    "address",
    ["index", "mistakes", "backward", "ops/conv2d", "api/optim", "auto_examples/tiny_vae"],
)
def test_pages_fit_a_phone(opened, address):
    page = opened(f"{address}.html", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_formulas_are_drawn(opened):
    page = opened("ops/batch_norm.html")
    heights = page.locator("article math mfrac").evaluate_all(
        "fractions => fractions.map(f => f.getBoundingClientRect().height)"
    )
    assert len(heights) > 5 and min(heights) > 15
