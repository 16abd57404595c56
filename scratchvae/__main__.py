"""The command line: `scratchvae kernels`, `scratchvae summary MODEL`, `scratchvae --version`."""

from __future__ import annotations

import argparse

from . import __version__, ops, optim  # noqa: F401  (importing them fills the registry)
from .backend import ENGINES, REGISTRY, find_kernel, gpu_problem, numba_problem
from .models import MODELS, build
from .summary import summary


def kernels() -> str:
    """A table of every accelerated function and what serves it on each engine."""
    rows: list[tuple[str, ...]] = [("function", *ENGINES)]
    for op, functions in sorted(REGISTRY.items()):
        for name in functions:
            served = [find_kernel(engine, op, name) for engine in ENGINES]
            rows.append((name, *(_where(kernel) for kernel in served)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(w) for cell, w in zip(r, widths, strict=True)) for r in rows]
    lines.insert(1, "  ".join("-" * w for w in widths))
    lines += [
        "",
        "reference: the body in scratchvae/ops/<op>.py or optim.py, on NumPy or CuPy arrays",
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


def main(arguments: list[str] | None = None) -> int:
    """Entry point of the `scratchvae` command."""
    parser = argparse.ArgumentParser(
        prog="scratchvae", description="Variational autoencoders from scratch."
    )
    parser.add_argument("--version", action="version", version=f"scratchvae {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("kernels", help="show which function serves each op on each engine")
    table = commands.add_parser(
        "summary",
        help="show a model's layers, their outputs, parameters and memory",
        description="Show a model's layers, their outputs, parameters and memory.",
        epilog="Example: scratchvae summary celeba --latent-dim 64 --image-shape 3 128 128",
    )
    table.add_argument("model", choices=MODELS, metavar="MODEL", help=", ".join(MODELS))
    table.add_argument("--latent-dim", type=int, metavar="N", help="length of a code")
    table.add_argument(
        "--image-shape", type=int, nargs=3, metavar=("C", "H", "W"), help="channels, height, width"
    )
    table.add_argument("--skips", metavar="all|deep|none", help="which skips the model `skip` has")
    table.add_argument(
        "--latent", metavar="scalar|learned", help="what mu and logvar are in the model `skip`"
    )
    args = parser.parse_args(arguments)
    if args.command == "kernels":
        print(kernels())
        return 0
    options = {
        name: getattr(args, name) for name in ("latent_dim", "image_shape", "skips", "latent")
    }
    try:
        print(summary(build(args.model, **{k: v for k, v in options.items() if v is not None})))
    except (ValueError, MemoryError) as problem:
        table.error(str(problem))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
