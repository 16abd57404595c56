"""What the commands share: number types, options, JSON, messages and colours."""

import argparse
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import pipe
from test_main import parsers

from scratchvae.__main__ import main, make_parser
from scratchvae.commands.options import (
    CommandParser,
    add_command,
    at_least,
    check_outputs,
    positive,
    run_options,
    show,
)
from scratchvae.output import paint, warn
from scratchvae.runs import RunFolder


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (positive(int), "3", 3),
        (positive(float), "1e-3", 1e-3),
        (at_least(0), "0", 0),
        (at_least(0, float), "0", 0.0),
        (at_least(2), "2", 2),
    ],
)
def test_numbers(kind, text, value):
    assert kind(text) == value and type(kind(text)) is type(value)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        (positive(int), "0", "must be above 0, got 0"),
        (positive(int), "1.5", "invalid int value: '1.5'"),
        (positive(float), "nan", "must be above 0, got nan"),
        (positive(float), "inf", "must be above 0, got inf"),
        (positive(float), "much", "invalid float value: 'much'"),
        (at_least(0), "-1", "must be 0 or more, got -1"),
        (at_least(0), "half", "invalid int value: 'half'"),
        (at_least(0, float), "nan", "must be 0 or more, got nan"),
        (at_least(0, float), "inf", "must be 0 or more, got inf"),
        (at_least(2), "1", "must be 2 or more, got 1"),
    ],
)
def test_other_numbers_are_usage_errors(capsys, kind, text, said):
    parser = argparse.ArgumentParser(prog="p")
    parser.add_argument("--n", type=kind)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args([f"--n={text}"])
    assert capsys.readouterr().err.endswith(f"p: error: argument --n: {said}\n")


PICTURES = ("reconstruct", "sample", "interpolate", "traverse", "manifold")
OUTPUTS = {
    "evaluate --out": ".json",
    "evaluate --per-image": ".csv",
    "encode --out": ".npz",
    **{f"{command} --out": ".png" for command in PICTURES},
    **{f"{command} --npz": ".npz" for command in PICTURES},
    "sample --folder": "",
}


@pytest.fixture
def refused(capsys, monkeypatch):
    """Call a command that ends with status 2 before it opens the run; return its message."""
    monkeypatch.setattr("scratchvae.commands.options.open_run", None)

    def call(*words):
        with pytest.raises(SystemExit, match="2"):
            main([*map(str, words)])
        out, err = capsys.readouterr()
        assert out == ""
        return err.splitlines()[-1]

    return call


@pytest.mark.parametrize("output", OUTPUTS)
def test_an_output_that_cannot_be_written_is_refused_before_anything_is_computed(
    tmp_path, refused, output
):
    (command, option), suffix = output.split(), OUTPUTS[output]
    run, folder = tmp_path / "run", tmp_path / f"folder{suffix}"
    for path in (run / "checkpoints", folder / "inner"):
        path.mkdir(parents=True)
    fifo, lost = pipe(tmp_path / f"pipe{suffix}"), tmp_path / f"no/x{suffix}"
    own = run / f"checkpoints/x{suffix}"
    new = "error: --folder: expected a new or an empty folder, got {}" if not suffix else ""
    for path, said in (
        (folder, new or "error: {} is a folder: give the name of a file"),
        (fifo, new or "error: {} is not a regular file: choose another name"),
        (lost, f"error: {{}}: there is no folder {lost.parent}: create it first"),
        (own, "error: {} is a file of the run itself: choose another name"),
    ):
        assert refused(command, run, option, path).endswith(said.format(path))
    if suffix in (".png", ".npz"):
        said = f"argument {option}: expected a file name that ends in {suffix}, got x.jpg"
        assert said in refused(command, run, option, "x.jpg")
    assert fifo.is_fifo() and not any(own.parent.iterdir()) and not lost.parent.exists()


def test_the_other_pictures_are_checked_too(tmp_path, refused):
    """The second of `manifold`, and those without a name of their own."""
    (tmp_path / "a-codes.png").mkdir()
    said = refused("manifold", tmp_path, "--out", tmp_path / "a.png")
    assert said.endswith(f"{tmp_path}/a-codes.png is a folder: give the name of a file")
    (tmp_path / "pictures").write_text("")
    said = refused("sample", tmp_path)
    assert f"there is no folder {tmp_path}/pictures" in said


@pytest.mark.parametrize(
    "name",
    ["config.json", "history.csv", "metrics.json", "weights.safetensors", "lock",
     "checkpoints/evaluation.json", "pictures/../metrics.json"],
)  # fmt: skip
def test_a_file_of_the_run_is_not_overwritten(tmp_path, name):
    for folder in ("checkpoints", "pictures"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match="is a file of the run itself: choose another name"):
        check_outputs(RunFolder(tmp_path), [tmp_path / name])
    check_outputs(RunFolder(tmp_path), [tmp_path / "evaluation.json", tmp_path / "pictures/x.png"])


def test_two_results_need_two_files(refused, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path / "x")
    for other in ("x", f"{tmp_path}/x", "link"):
        said = refused("evaluate", ".", "--out", "x", "--per-image", other)
        assert f"{other} is named for two results: choose another name for one" in said


def test_a_folder_that_is_read_only_is_refused(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    said = refused("evaluate", tmp_path, "--out", tmp_path / "x.json")
    assert f"{tmp_path}/x.json: nothing can be written in its folder: choose another" in said


PATHS = (
    "out",
    "resume",
    "config",
    "npz",
    "each",
    "plot",
    "per_image",
    "data_dir",
    "files",
    "folder",
)


@pytest.mark.parametrize(
    ("words", "option"),
    [
        pytest.param(words.split()[1:], action.option_strings[-1:], id=f"{words} {action.dest}")
        for words, parser in parsers().items()
        for action in parser._actions
        if action.dest in PATHS
    ],
)
def test_an_empty_path_is_refused(refused, words, option):
    said = refused(*words, *option, "")
    assert f"argument {option[0] if option else 'RUN'}: must not be empty (see " in said


def test_options_of_a_run():
    """A range may begin with a minus sign."""
    parser = CommandParser(prog="p")
    run_options(parser)
    args = parser.parse_args(["run"])
    assert (args.engine, args.tf32, args.value_range, "json" in args) == (
        "auto",
        False,
        None,
        False,
    )
    args = parser.parse_args(
        ["run", "--engine", "cuda", "--tf32", "--json", "--value-range", "-.5,1.5"]
    )
    assert (args.engine, args.tf32, args.value_range, args.json) == ("cuda", True, "-.5,1.5", True)
    args = make_parser().parse_args(["train", "mlp", "--value-range", "-1,1"])
    assert args.value_range == "-1,1"


@pytest.mark.parametrize("option", ["debug", "json"])
@pytest.mark.parametrize("words", ["--{0} inner", "inner --{0}", "--{0} inner --{0}"])
def test_debug_and_json_hold_wherever_they_stand(words, option):
    outer = CommandParser(prog="outer")
    outer.set_defaults(debug=False, json=False)
    inner = outer.add_subparsers().add_parser("inner")
    args = outer.parse_args(words.format(option).split())
    assert getattr(args, option) and args.parser is inner
    assert not getattr(outer.parse_args(["inner"]), option)


def test_help_keeps_the_lines_of_examples():
    commands = CommandParser(prog="p").add_subparsers()
    inner = add_command(
        commands, "c", print, "use many words", " again" * 20, "p c --n 1", "p c --n 2"
    )
    shown = inner.format_help()
    assert "\nUse many words again again" in shown
    assert "examples:\n  p c --n 1\n  p c --n 2\n" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_a_terminal_may_be_narrow(monkeypatch):
    monkeypatch.setenv("COLUMNS", "1")
    assert "\nmany words\n" in CommandParser(prog="p", description="many words").format_help()


def test_json_of_something_else_prints_nothing(capsys):
    args = argparse.Namespace(json=True, saved=False)
    show(args, {"path": Path("a/b"), 2: ["größer", np.float32(1.5), float("nan")]}, "text")
    assert json.loads(capsys.readouterr().out) == {"path": "a/b", "2": ["größer", 1.5, None]}
    with pytest.raises(TypeError, match="object"):
        show(args, {"first": 1, "thing": object()}, "text")
    assert capsys.readouterr() == ("", "")


def test_remarks_go_to_standard_error(capsys):
    warn("z is silent")
    assert capsys.readouterr() == ("", "warning: z is silent\n")


# --- Colours -------------------------------------------------------------------------------------


@pytest.fixture
def terminal():
    """The near end of a terminal, as a text stream."""
    far, near = pty.openpty()
    with open(near, "w") as stream:
        yield stream
    os.close(far)


@pytest.mark.parametrize(
    ("variables", "painted"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),  # empty counts as unset, says no-color.org
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, True),
    ],
)
def test_a_terminal_shows_colours_unless_told_not_to(terminal, monkeypatch, variables, painted):
    for name in ("TERM", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert paint("error:", "red", terminal) == ("\x1b[31merror:\x1b[0m" if painted else "error:")
    assert paint("error:", "red", io.StringIO()) == "error:"


@pytest.mark.parametrize("no_colour", ["", "1"])
def test_an_error_is_red_on_a_terminal(no_colour):
    far, near = pty.openpty()
    try:
        command = [sys.executable, "-m", "scratchvae", "summary", "mlp", "--latent-dim", "0"]
        environment = os.environ | {"TERM": "xterm", "NO_COLOR": no_colour}
        done = subprocess.run(command, stderr=near, stdout=subprocess.PIPE, env=environment)
        said = os.read(far, 1000).decode()
    finally:
        os.close(near)
        os.close(far)
    error = "error:" if no_colour else "\x1b[31merror:\x1b[0m"
    assert done.returncode == 2 and done.stdout == b""
    assert said.startswith(f"scratchvae summary: {error} build: latent_dim must be an int")
