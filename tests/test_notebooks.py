"""The examples as notebooks, converted by sphinx-gallery as on the site; and what a kernel shows.
.ci/run installs what this needs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from idx_files import write_digits
from photographs import write_photographs

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # of Jupyter's own

ROOT = Path(__file__).resolve().parents[1]
DIGITS = ["--epochs", "1", "--data-dir", "digits", "--engine", "numpy"]
FACES = ["--epochs", "1", "--data-dir", "faces", "--engine", "numpy"]
OPTIONS = {
    "autoencoder_vs_vae": DIGITS,
    "celeba_vae": FACES,
    "gradient_check": ["--out", "runs"],
    "minimal_vae": DIGITS[:4],
    "mnist_vae": DIGITS,
    "skip_vae": FACES,
    "tiny_vae": DIGITS,
}


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Run a notebook, or a list of cells, in `tmp_path`; its cells of code, with their outputs."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "modules"), str(ROOT)]))

    def run(notebook, **options):
        if isinstance(notebook, list):
            cells = [nbformat.v4.new_code_cell(source) for source in notebook]
            notebook = nbformat.v4.new_notebook(cells=cells)
        client = nbclient.NotebookClient(
            notebook, timeout=600, resources={"metadata": {"path": str(tmp_path)}}, **options
        )
        return [cell for cell in client.execute().cells if cell.cell_type == "code"]

    return run


def printed(cell, stream="stdout"):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream" and o.name == stream)


def shown(cell):
    """What a cell shows as HTML."""
    return "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)


@pytest.mark.parametrize("example", [path.stem for path in (ROOT / "examples").glob("*.py")])
def test_an_example_runs_as_a_notebook(tmp_path, execute, example):
    pytest.importorskip("sphinx_gallery")
    write_digits(tmp_path / "digits", 40, 20)
    write_photographs(tmp_path / "faces", 12)
    shutil.copy(ROOT / f"examples/{example}.py", tmp_path)
    convert = [Path(sys.executable).with_name("sphinx_gallery_py2jupyter"), f"{example}.py"]
    subprocess.run(convert, cwd=tmp_path, check=True)
    text = (tmp_path / f"{example}.ipynb").read_text("utf-8")
    before = '[] if \\"kernel_launcher\\"'
    assert text.count(before) == 1
    options = str(OPTIONS[example]).replace('"', '\\"')
    text = text.replace(before, f'{options} if \\"kernel_launcher\\"')

    cells = execute(nbformat.reads(text, as_version=4))

    remarks = "".join(printed(cell, "stderr") for cell in cells)
    assert remarks in ("", "faces: 12 files: 12 read\n")
    values = [o for cell in cells[:-1] for o in cell.outputs if o.output_type == "execute_result"]
    assert values == []  # of a last expression that no reader asked for
    if example == "minimal_vae":
        assert "nats per image" in printed(cells[-1])
    else:
        assert '<img alt="' in shown(cells[-1]) and "data:image/png;base64," in shown(cells[-1])
    if example == "gradient_check":
        tables = "".join(map(shown, cells))
        assert tables.count("<table>") == 2 + 1 + 2 + 1 and "is wrong" in tables


BAR = """
from scratchvae.output import progress
for i in progress(range(3), "bar", leave=True): pass
"""


def test_a_bar_is_a_widget(execute):
    pytest.importorskip("ipywidgets")
    (cell,) = execute([BAR])
    views = ["application/vnd.jupyter.widget-view+json" in o.get("data", {}) for o in cell.outputs]
    assert views == [True]


def test_without_ipywidgets_a_bar_is_text_without_a_warning(tmp_path, execute):
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/ipywidgets.py").write_text("raise ImportError")
    (cell,) = execute([BAR])
    assert "bar: 100%" in printed(cell) and printed(cell, "stderr") == ""


def test_an_error_keeps_its_traceback_and_the_kernel(tmp_path, execute):
    code = """
import argparse, scratchvae as sv
with sv.runs.errors_in_one_line(argparse.ArgumentParser(), ValueError):
    raise ValueError("a wrong option")
"""
    cell, after = execute([code, "1 + 1"], allow_errors=True)
    (error,) = cell.outputs
    assert (error.ename, error.evalue) == ("ValueError", "a wrong option")
    assert after.outputs[0].data["text/plain"] == "2"


def test_a_model_and_a_summary_show_tables(execute):
    model, summary = execute(
        [
            "import scratchvae as sv; sv.models.build('tiny')",
            "sv.models.inspect.summary(sv.models.build('tiny'))",
        ]
    )
    assert "40,289 parameters in float32" in shown(model)
    assert "Total params: 40,289\n" in summary.outputs[0].data["text/plain"]


def test_run_of_a_script_keeps_its_options(tmp_path, execute):
    """`%run` sets sys.argv, and the script reads it."""
    (cell,) = execute([f"%run {ROOT / 'examples/gradient_check.py'} --out elsewhere"])
    assert (tmp_path / "elsewhere/softmax-step.png").exists()
