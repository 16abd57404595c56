"""The `scratchvae` command."""

import argparse
import inspect
import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

import scratchvae
from scratchvae import backend, layers, models, ops
from scratchvae.__main__ import main, make_parser
from scratchvae.backend import find_kernel
from scratchvae.commands.kernels import kernels
from scratchvae.data import DataNotFound
from scratchvae.ops import __all__ as op_functions


def test_kernels_lists_every_op_on_every_engine(capsys):
    assert main(["kernels"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["function", "numpy", "numba", "cuda"]
    rows = {
        line.split()[0]: line.split()[1:] for line in lines[2:] if line and len(line.split()) == 4
    }
    functions = {f for f in op_functions if f.endswith(("_forward", "_backward"))}
    others = {"sgd_step", "adam_step", "clip_to_norm", "fill_normal", "fill_words", "record"}
    assert set(rows) == functions | others | {"look_up"}
    kernels_of_conv2d = ["kernels/cpu/conv2d.py", "kernels/cuda/conv2d.py"]
    assert rows["conv2d_forward"] == ["reference", *kernels_of_conv2d]
    assert rows["kl_forward"] == ["reference", "reference", "kernels/cuda/kl.py"]


def test_kernels_in_json_are_those_of_the_table(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["kernels", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    table = [line.split() for line in kernels().splitlines()]
    assert all([*record.values()] in table for record in found["functions"])
    assert len({record["function"] for record in found["functions"]}) == table.index([]) - 2
    assert found["problems"]["numpy"] is None
    assert "CuPy is not installed" in found["problems"]["cuda"]


def test_every_op_of_a_model_has_a_kernel_on_the_gpu():
    """A launch takes longer than the arithmetic, and an op's body would need a dozen of them."""
    sources = [inspect.getsource(models.vae), inspect.getsource(models.ae)]
    for name in models.MODELS:
        kinds = {type(module) for module in models.build(name).modules()}
        sources += [inspect.getsource(kind) for kind in kinds if kind.__module__ == layers.__name__]
    used = set(re.findall(r"\b(\w+)_forward\b", "\n".join(sources))) & set(ops.OPS)
    assert {"linear", "conv2d", "relu", "bce", "kl", "elbo", "tanh"} <= used
    for op in used:
        for end in ("forward", "backward"):
            assert find_kernel("cuda", op, f"{op}_{end}"), op


def test_kernels_says_why_cuda_cannot_run(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert "cuda is not available: CuPy is not installed" in kernels()


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["kernels", "surplus"]])
def test_usage_errors_exit_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2
    assert "scratchvae" in (err := capsys.readouterr().err) and "error: " in err


def test_as_a_module(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "scratchvae", "--version"], capture_output=True, text=True
    )
    assert run.stdout == f"scratchvae {scratchvae.__version__}\n", run.stderr


# --- Errors --------------------------------------------------------------------------------------


@pytest.fixture
def stumble(monkeypatch):
    """Make `scratchvae stumble` a command that raises this."""

    def make(problem):
        def run(args):
            raise problem

        def add(commands):
            commands.add_parser("stumble").set_defaults(run=run)

        monkeypatch.setattr("scratchvae.__main__.COMMANDS", (SimpleNamespace(add=add),))

    return make


ADVICE = "mnist is not on this machine. Tried:\n  - the cache: no such folder"


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (ValueError("lr must be above 0,\n   got -1"), "lr must be above 0, got -1"),
        (ValueError(), "ValueError"),
        (RuntimeError("no GPU"), "no GPU"),
        (MemoryError(), "MemoryError"),
        (FloatingPointError("the loss is nan"), "the loss is nan"),
        (ModuleNotFoundError("No module named 'cupy'"), "No module named 'cupy'"),
        (FileNotFoundError(2, "No such file or directory", "x"), "x: No such file or directory"),
        (OSError(18, "Cross-device link", "a", None, "b"), "a -> b: Cross-device link"),
        (OSError(28, "No space left"), "No space left"),
        (OSError("no mirror answers"), "no mirror answers"),
        (DataNotFound(ADVICE), ADVICE),
        (
            KeyError("z"),
            "internal error: KeyError: 'z' (please report it; --debug shows the traceback)",
        ),
    ],
    ids=repr,
)
def test_whatever_a_command_raises_is_one_line(stumble, capsys, problem, said):
    stumble(problem)
    with pytest.raises(SystemExit) as error:
        main(["stumble"])
    assert error.value.code == 2
    assert capsys.readouterr() == ("", f"scratchvae stumble: error: {said}\n")


@pytest.mark.parametrize("problem", [ValueError("lr"), KeyError("z"), KeyboardInterrupt()])
def test_debug_shows_the_traceback(stumble, problem):
    stumble(problem)
    with pytest.raises(type(problem)) as raised:
        main(["stumble", "--debug"])
    assert raised.value is problem


def test_interrupted(stumble, capsys):
    stumble(KeyboardInterrupt())
    with pytest.raises(SystemExit) as error:
        main(["stumble"])
    assert error.value.code == 130
    assert capsys.readouterr() == ("", "scratchvae stumble: interrupted\n")


def test_a_command_may_end_by_itself(stumble):
    stumble(SystemExit(3))
    with pytest.raises(SystemExit, match="3"):
        main(["stumble"])


def shell(script):
    """Run a bash script; $scratchvae is the command, with its output buffered as usual."""
    script = f'unset PYTHONUNBUFFERED; scratchvae="{sys.executable} -m scratchvae"; {script}'
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)


def test_a_reader_that_leaves_is_no_error():
    """`true` does not read its input, so the table is never read."""
    done = shell("set -o pipefail; { sleep 0.1; $scratchvae summary mlp; } | true")
    assert (done.returncode, done.stdout, done.stderr) == (141, "", "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_full_disk_is_one_line():
    done = shell("$scratchvae summary mlp > /dev/full")
    assert done.returncode == 2
    assert done.stderr == "scratchvae summary: error: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_another_error_comes_before_the_full_disk():
    done = shell("$scratchvae check relu --method adjoint --engine numpy > /dev/full")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "scratchvae check: error: relu is not linear, so the method adjoint does not apply"
    ]


def test_closed_output_is_no_error():
    done = shell("$scratchvae summary mlp >&-")
    assert (done.returncode, done.stderr) == (0, "")


# --- Help ----------------------------------------------------------------------------------------


def parsers():
    """Each parser of the command line, by the words that select it."""
    found = [make_parser()]
    for parser in found:
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                found += action.choices.values()
    return {parser.prog: parser for parser in found}


@pytest.mark.parametrize("words", parsers())
def test_help_has_examples_and_every_option_a_word(words, capsys):
    parser = parsers()[words]
    with pytest.raises(SystemExit) as end:
        main([*words.split()[1:], "--help"])
    out = capsys.readouterr().out
    assert end.value.code == 0 and out.startswith(f"usage: {words} ")
    assert parser.description and "example" in (parser.epilog or "").lower()
    assert "  scratchvae " in out
    for action in parser._actions:
        assert action.help or isinstance(action, argparse._SubParsersAction), action
    assert "--debug" in out and "--json" in out


def test_the_first_help_has_a_line_for_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    lines = capsys.readouterr().out.splitlines()
    names = {words.split()[1] for words in parsers() if " " in words}
    assert len(names) == 13
    for name in names:
        assert any(line.startswith(f"    {name} ") for line in lines), name


def test_a_misspelt_option_is_named(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "mlp", "--bta", "2", "--no-binarise"])
    said = "unrecognized arguments: --bta 2 --no-binarise (did you mean --beta?)"
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--json kernels", "kernels --json"])
def test_json_may_stand_on_either_side_of_the_command(capsys, words):
    assert main(words.split()) == 0
    assert json.loads(capsys.readouterr().out)["functions"]


@pytest.mark.parametrize("words", parsers())
def test_shtab_takes_every_parser(words):
    """shtab takes a dict of choices for subcommands, and fails: use a tuple."""
    for action in parsers()[words]._actions:
        inner = isinstance(action, argparse._SubParsersAction)
        assert inner or not isinstance(action.choices, dict), action


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from scratchvae.__main__ import make_parser; make_parser().format_help();"
        "print([m for m in ('matplotlib', 'numba', 'cupy', 'pooch', 'PIL') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "[]\n", run.stdout + run.stderr


@pytest.mark.parametrize("terminal", [False, True])
def test_remarks_are_for_terminals(terminal, capsys, monkeypatch):
    """The engine that "auto" chose is not printed to logs, nor to the input of scripts."""
    monkeypatch.setattr(backend, "_announced", False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with suppress(SystemExit):  # relu is not linear: rejected after the engine is chosen
        main(["check", "relu", "--method", "adjoint"])
    assert ("scratchvae: engine " in capsys.readouterr().err) == terminal
