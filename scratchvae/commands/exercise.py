"""`scratchvae exercise`: write a file with a function to write, or with a bug to find."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..exercises import bugs
from ..exercises.course import COURSE, Exercise
from ..exercises.gallery import ROOMS
from ..output import table, write_atomically
from .options import add_command, at_least, option, path, show, unknown


def add(commands: Any) -> None:
    parser = add_command(
        commands, "exercise", run, "write a file with a function to write, or with a bug to find",
        ". `scratchvae check FILE` judges what you write. Without a name it lists the exercises.",
        "scratchvae exercise",
        "scratchvae exercise relu",
        "scratchvae check relu_exercise.py",
        "scratchvae exercise relu --hint 1",
        "scratchvae exercise --bug 17",
    )  # fmt: skip
    option(parser, "name EXERCISE", str, "name or number of an exercise", nargs="?")
    option(parser, "--bug N", at_least(1), f"a file with a bug, from 1 to {len(bugs.BUGS)}")
    option(parser, "--hint N", (1, 2), "print a hint", type=int)
    option(parser, "--solution", bool, "print the solution")
    option(parser, "--out FILE", path, "file to write", shown="in this folder")


def run(args: argparse.Namespace) -> int:
    if args.name is not None and args.bug is not None:
        args.parser.error("give either an exercise or --bug, not both")
    if args.name is None and args.bug is None:
        if args.hint or args.solution or args.out:
            args.parser.error("--hint, --solution and --out need an exercise or --bug")
        return _list(args)
    if (args.hint is not None) + args.solution + (args.out is not None) > 1:
        args.parser.error("give at most one of --hint, --solution and --out")
    if args.bug is not None:
        bug = bugs.bug(args.bug)
        facts: dict[str, Any] = {"bug": args.bug, "in": bugs.location(bug)}
        name, text = bugs.file_name(args.bug), bugs.written(args.bug)
        hint = bugs.hint(args.bug, args.hint) if args.hint else ""
        solution = bugs.solution(args.bug)
        about = f"Bug {args.bug} is in it, a copy of {bugs.location(bug)}: find and correct it."
    else:
        exercise = _named(args.name)
        facts = {"exercise": exercise.name, "function": exercise.function}
        name, text = exercise.file_name, exercise.text
        hint = exercise.hints[args.hint - 1] if args.hint else ""
        solution = exercise.solution.rstrip()
        about = f"{exercise.about} Write the body of {exercise.function}."
    if args.hint:
        show(args, {**facts, "hint": hint}, hint)
    elif args.solution:
        show(args, {**facts, "solution": solution}, solution)
    else:
        file = args.out or Path(name)
        _write(file, text)
        args.saved = True
        show(args, {**facts, "file": str(file)},
             f"{file} is written. {about}\nThen run: scratchvae check {file}")  # fmt: skip
    return 0


def _named(name: str) -> Exercise:
    """The exercise of this name or number; ValueError if there is none."""
    for exercise in COURSE.values():
        if name in (exercise.name, exercise.function, str(exercise.number)):
            return exercise
    raise ValueError(unknown("exercise", name, COURSE))


def _write(file: Path, text: str) -> None:
    """Write a new file; FileExistsError rather than replace a solution."""
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder: give the name of a file")
    if file.exists():
        raise FileExistsError(
            f"{file} exists, and may have your solution: delete it, or choose another name with "
            "--out"
        )
    write_atomically(file, text.encode())


def _list(args: argparse.Namespace) -> int:
    """All exercises in order, and the numbers of the bugs."""
    rows, first = [], 1
    for room, faults in ROOMS.items():
        rows.append([f"{first} to {first + len(faults) - 1}", room])
        first += len(faults)
    exercises = [[str(e.number), e.name, e.function, e.about] for e in COURSE.values()]
    text = [table([["", "exercise", "function to write", "about"], *exercises]), "",
            table([["bugs", "in"], *rows]), "",
            "scratchvae exercise NAME, or scratchvae exercise --bug N, writes a file;",
            "scratchvae check FILE judges what you have written."]  # fmt: skip
    listed = [{"number": e.number, "name": e.name, "function": e.function, "about": e.about,
               "module": e.module} for e in COURSE.values()]  # fmt: skip
    show(args, {"exercises": listed, "bugs": [{"numbers": n, "in": room} for n, room in rows]},
         "\n".join(text))  # fmt: skip
    return 0
