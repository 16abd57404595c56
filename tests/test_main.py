"""The `scratchvae` command."""

import argparse
import inspect
import json
import os
import re
import signal
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
from scratchvae.data import DataNotFound


def test_kernels_lists_every_op_on_every_engine(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    assert main(["kernels"]) == 0
    heading, _, *lines = (line.split() for line in capsys.readouterr().out.splitlines())
    assert heading == ["function", "numpy", "numba", "cuda"]
    rows = {name: where for name, *where in lines[: lines.index([])]}
    functions = {f for f in ops.__all__ if f.endswith(("_forward", "_backward"))}
    others = {"sgd_step", "adam_step", "clip_to_norm", "fill_normal", "fill_words", "record"}
    assert set(rows) == functions | others | {"look_up"}
    kernels_of_conv2d = ["kernels/cpu/conv2d.py", "kernels/cuda/conv2d.py"]
    assert rows["conv2d_forward"] == ["reference", *kernels_of_conv2d]
    assert rows["kl_forward"] == ["reference", "reference", "kernels/cuda/kl.py"]
    assert " ".join(lines[-1]).startswith("cuda is not available: CuPy is not installed")

    assert main(["kernels", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: where for name, *where in map(dict.values, found["functions"])} == rows
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


# --- The program and the package -----------------------------------------------------------------


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


def test_as_a_module():
    run = python("-m", "scratchvae", "--version")
    assert run.stdout == f"scratchvae {scratchvae.__version__}\n", run.stderr


def test_the_package_imports_a_name_when_it_is_used():
    code = """if True:
        import sys, scratchvae as sv
        assert not {"numpy", "scratchvae.backend"} & sys.modules.keys()
        assert {*sv.__all__} <= {*dir(sv)}
        for name in {*sv.__all__} - {"plots"}:
            assert getattr(sv, name).__name__.split(".")[-1] == name
        assert not {"matplotlib", "numba", "cupy", "pooch", "PIL"} & sys.modules.keys()
        assert sv.plots and "matplotlib" in sys.modules
        import doctest
        assert doctest.testmod(sv) == (0, 4)
        sv.nonsense
    """
    run = python("-c", code)
    message = "AttributeError: module 'scratchvae' has no attribute 'nonsense'"
    assert run.stderr.splitlines()[-1] == message, run.stderr


@pytest.mark.parametrize("status", [0, 1, 2, 129, 130, 141, 143])
def test_the_program_dies_of_the_signal_that_ended_its_command(status):
    code = f"import scratchvae.__main__ as m; m.main = lambda: {status}; m.program()"
    assert python("-c", code).returncode == (128 - status if status > 128 else status)


@pytest.fixture
def interrupted(tmp_path):
    """An environment in which the import of numpy, which `scratchvae` needs, is interrupted."""
    code = "import os, signal, time; os.killpg(0, signal.SIGINT); time.sleep(20)"
    (tmp_path / "numpy.py").write_text(code)
    root = Path(scratchvae.__file__).parents[1]
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tmp_path, root)))}


def test_an_interrupt_during_the_imports_is_quiet_and_stops_a_shell_loop(interrupted):
    loop = f"for s in 1 2; do echo $s; {sys.executable} -m scratchvae kernels; done"
    done = subprocess.run(
        ["bash", "-c", loop], capture_output=True, env=interrupted, start_new_session=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, b"1\n", b"")


def test_a_job_in_the_background_ignores_interrupts():
    ignored = "signal.getsignal(signal.SIGINT) == signal.SIG_IGN"
    code = f"import signal, scratchvae.__main__ as m; m.main = lambda: 7 * ({ignored}); m.program()"
    assert (
        subprocess.run(["bash", "-c", f"trap '' INT; {sys.executable} -c '{code}'"]).returncode == 7
    )


def test_no_file_takes_the_number_of_a_closed_stream():
    null = "all(os.path.samestat(os.fstat(n), os.stat(os.devnull)) for n in range(3))"
    code = f"import os, scratchvae.__main__ as m; m.main = lambda: 7 * {null}; m.program()"
    script = f"{sys.executable} -c '{code}' <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", script]).returncode == 7


# --- Errors --------------------------------------------------------------------------------------


@pytest.fixture
def stumble(monkeypatch):
    """Make `scratchvae stumble` a command that raises this."""

    def make(problem):
        def run(args):
            raise problem

        def add(commands):
            commands.add_parser("stumble").set_defaults(run=run)

        monkeypatch.setattr("scratchvae.commands.COMMANDS", (SimpleNamespace(add=add),))

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
    assert "  scratchvae " in out and "--debug" in out and "--json" in out
    for action in parser._actions:
        inner = isinstance(action, argparse._SubParsersAction)
        assert action.help or inner, action
        # shtab takes a dict of choices for subcommands, and fails: use a tuple.
        assert inner or not isinstance(action.choices, dict), action


def test_alone_it_lists_the_commands(capsys):
    assert main([]) == 0
    out = capsys.readouterr().out
    names = {words.split()[1] for words in parsers() if " " in words}
    assert len(names) == 14
    assert names <= {line.split()[0] for line in out.splitlines() if line.startswith("    ")}
    with pytest.raises(SystemExit):
        main(["--help"])
    assert capsys.readouterr().out == out
    assert main(["--json"]) == 0
    assert {*json.loads(capsys.readouterr().out)["commands"]} == names


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("kernels surplus", "kernels: error: unrecognized arguments: surplus"),
        (
            "train mlp --bta 2 --no-binarise",
            "arguments: --bta 2 --no-binarise (did you mean --beta?)",
        ),
        ("trian mlp", "unknown command 'trian' (did you mean train?); choose from train, "),
        ("data fetsch", "unknown command 'fetsch' (did you mean fetch?); choose from list, fetch,"),
        ("data fetch mnits", "unknown name 'mnits' (did you mean mnist?); choose from mnist,"),
        ("data list mnits", "unknown data set 'mnits' (did you mean mnist?); choose from mnist,"),
        ("train cov", "argument MODEL: unknown model 'cov' (did you mean conv?); choose from mlp,"),
        ("bench cov", "argument MODEL: unknown model 'cov' (did you mean conv?); choose from mlp,"),
        (
            "check con2d",
            "unknown op or model 'con2d' (did you mean conv2d?); choose from adaptive_",
        ),
        ("check --dtype flaot32", "--dtype: unknown choice 'flaot32' (did you mean float32?)"),
        (
            "bench --engine tpu",
            "--engine: unknown choice 'tpu'; choose from numpy, numba, cuda (see",
        ),
        ("summary x'\"\n", "argument MODEL: invalid choice:"),
    ],
)
def test_a_misspelt_word_is_one_line_and_is_corrected(line, said, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(line.split(" "))
    (err,) = capsys.readouterr().err.splitlines()
    assert said in err


@pytest.mark.parametrize("words", ["--json kernels", "kernels --json"])
def test_json_may_stand_on_either_side_of_the_command(capsys, words):
    assert main(words.split()) == 0
    assert json.loads(capsys.readouterr().out)["functions"]


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from scratchvae.__main__ import make_parser; make_parser().format_help();"
        "print([m for m in ('matplotlib', 'numba', 'cupy', 'pooch', 'PIL') if m in sys.modules])"
    )
    run = python("-c", code)
    assert run.stdout == "[]\n", run.stdout + run.stderr


@pytest.mark.parametrize("terminal", [False, True])
def test_remarks_are_for_terminals(terminal, capsys, monkeypatch):
    """The engine that "auto" chose is not printed to logs, nor to the input of scripts."""
    monkeypatch.setattr(backend, "_announced", False)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    with suppress(SystemExit):  # relu is not linear: rejected after the engine is chosen
        main(["check", "relu", "--method", "adjoint"])
    assert ("scratchvae: engine " in capsys.readouterr().err) == terminal
