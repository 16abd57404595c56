"""`scratchvae kernels`: which function implements each op on each engine."""

from __future__ import annotations

import argparse
from typing import Any

from .. import data, ops, optim  # noqa: F401  (with those of `gpu`, they fill the registry)
from ..backend import ENGINES, REGISTRY, find_kernel, gpu_problem, numba_problem
from ..gpu import graph, philox  # noqa: F401
from ..output import table
from .options import add_command, show


def add(commands: Any) -> None:
    add_command(
        commands, "kernels", run, "show which function implements each op on each engine",
        ", and why an engine is not available.",
        "scratchvae kernels",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    show(args, {"functions": served(), "problems": problems()}, kernels())
    return 0


def served() -> list[dict[str, str]]:
    """Every accelerated function, and the file that implements it for each engine."""
    return [
        {"function": name, **{e: _where(find_kernel(e, op, name)) for e in ENGINES}}
        for op, functions in sorted(REGISTRY.items())
        for name in functions
    ]


def problems() -> dict[str, str | None]:
    """Why an engine is not available on this machine; None if it is."""
    return {"numpy": None, "numba": numba_problem(), "cuda": gpu_problem()}


def kernels() -> str:
    """The table of `served`, and why engines are not available."""
    lines = [
        table([["function", *ENGINES], *([*record.values()] for record in served())]),
        "",
        "reference: the NumPy code in scratchvae/ (ops/<op>.py, optim.py, gpu/philox.py, ...)",
    ]
    lines += [f"{engine} is not available: {why}" for engine, why in problems().items() if why]
    return "\n".join(lines)


def _where(kernel: object) -> str:
    if kernel is None:
        return "reference"
    return "kernels/" + "/".join(kernel.__module__.split(".")[2:]) + ".py"
