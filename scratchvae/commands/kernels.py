"""`scratchvae kernels`: which function serves each op on each engine."""

from __future__ import annotations

import argparse
from typing import Any

from ..backend import ENGINES, REGISTRY, find_kernel, gpu_problem, numba_problem
from ..gpu import graph, philox  # noqa: F401  (they fill the registry)
from .options import json_option, print_json


def add(commands: Any) -> None:
    """Add the parser."""
    what = "show which function serves each op on each engine"
    parser = commands.add_parser(
        "kernels",
        help=what,
        description=f"{what.capitalize()}, and why an engine cannot run here.",
        epilog="example:\n  scratchvae kernels",
    )
    json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    if args.json:
        problems = {"numpy": None, "numba": numba_problem(), "cuda": gpu_problem()}
        print_json({"functions": served(), "problems": problems})
    else:
        print(kernels())
    return 0


def served() -> list[dict[str, str]]:
    """Every accelerated function, and what serves it by the name of the engine."""
    return [
        {"function": name, **{e: _where(find_kernel(e, op, name)) for e in ENGINES}}
        for op, functions in sorted(REGISTRY.items())
        for name in functions
    ]


def kernels() -> str:
    """A table of every accelerated function and what serves it on each engine."""
    rows = [("function", *ENGINES), *(tuple(record.values()) for record in served())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines += [
        "",
        "reference: the body in scratchvae/ (ops/<op>.py, optim.py, gpu/philox.py, ...)",
    ]
    if problem := numba_problem():
        lines.append(f"numba cannot run here: {problem}")
    if problem := gpu_problem():
        lines.append(f"cuda cannot run here: {problem}")
    return "\n".join(line.rstrip() for line in lines)


def _where(kernel: object) -> str:
    if kernel is None:
        return "reference"
    return "kernels/" + "/".join(kernel.__module__.split(".")[2:]) + ".py"
