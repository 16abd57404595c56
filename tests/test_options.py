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

from scratchvae.__main__ import main, make_parser
from scratchvae.commands.options import (
    CommandParser,
    add_command,
    at_least,
    paint,
    positive,
    run_options,
    say,
    show,
    warn,
)


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


OUTPUTS = [
    "evaluate {run} --out {out}",
    "evaluate {run} --per-image {out}.csv",
    "encode {run} --out {out}.npz",
    "reconstruct {run} --out {out}.png",
    "sample {run} --npz {out}.npz",
    "manifold {run} --out {out}.png",
]


@pytest.mark.parametrize("line", OUTPUTS)
def test_a_folder_is_refused_as_a_file_before_anything_is_computed(
    tmp_path, monkeypatch, capsys, line
):
    words = line.format(run=tmp_path / "run", out=tmp_path / "out").split()
    Path(words[-1]).mkdir()
    monkeypatch.setattr("scratchvae.commands.options.open_run", None)
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err.endswith(
        f" error: {words[-1]} is a folder: give the name of a file\n"
    )


def test_a_range_may_begin_with_a_minus_sign():
    args = make_parser().parse_args(["train", "mlp", "--value-range", "-1,1"])
    assert args.value_range == "-1,1"
    parser = CommandParser(prog="p")
    run_options(parser)
    assert parser.parse_args(["run", "--value-range", "-.5,1.5"]).value_range == "-.5,1.5"


def test_options_of_the_engine_and_json():
    parser = CommandParser(prog="p")
    run_options(parser)
    args = parser.parse_args(["run"])
    assert (args.engine, args.tf32, "json" in args) == ("auto", False, False)
    args = parser.parse_args(["run", "--engine", "cuda", "--tf32", "--json"])
    assert (args.engine, args.tf32, args.json) == ("cuda", True, True)


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


def test_json_is_what_any_reader_takes(capsys):
    show(
        argparse.Namespace(json=True, saved=False),
        {
            "loss": np.float32(1.5),
            "steps": np.int64(3),
            "nan": float("nan"),
            "inf": [np.float64("-inf"), (1, True, None)],
            "array": np.array([[1.0, np.nan]]),
            "path": Path("a/b"),
            2: "größer",
        },
        "text",
    )
    out, err = capsys.readouterr()

    def refuse(constant):
        raise AssertionError(constant)

    assert err == ""
    assert json.loads(out, parse_constant=refuse) == {
        "loss": 1.5,
        "steps": 3,
        "nan": None,
        "inf": [None, [1, True, None]],
        "array": [[1.0, None]],
        "path": "a/b",
        "2": "größer",
    }


def test_json_of_something_else_prints_nothing(capsys):
    with pytest.raises(TypeError, match="object"):
        show(argparse.Namespace(json=True, saved=False), {"first": 1, "thing": object()}, "text")
    assert capsys.readouterr().out == ""


def test_remarks_go_to_standard_error(capsys):
    say("epoch 1")
    assert capsys.readouterr() == ("", "epoch 1\n")
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
