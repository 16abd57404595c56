"""`scratchvae check`: are the gradients right? A table, and exit status 0 only if all are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import ENGINES, using
from ..gradcheck import METHODS, Report, check_model, check_op
from ..gradcheck.cases import CASES
from ..gradcheck.check import op_subject
from ..gradcheck.curves import elementwise, error_curve
from ..gradcheck.report import table
from ..gradcheck.subject import Subject, of_model
from ..models import MODELS, Model, build
from .options import at_least_zero, say

BATCH = 2  # images a model is checked with: the least that batch norm can do with anywhere
EXAMPLES = """\
examples:
  scratchvae check conv2d
  scratchvae check mlp --method central
  scratchvae check batch_norm --plot pictures
  scratchvae check --all
"""
OP_METHODS = ("central", "complex", "adjoint")


def add(commands: Any) -> None:
    """Add the parser."""
    parser = commands.add_parser(
        "check",
        help="check hand-written gradients against finite differences",
        description="Check the gradients of an op, of a model (every parameter tensor), or of all. "
        "The exit status is 0 only if every gradient was shown to be right.",
        epilog=EXAMPLES,
    )
    parser.add_argument(
        "target",
        nargs="?",
        metavar="OP|MODEL",
        help=f"an op ({', '.join(CASES)}) or a model ({', '.join(MODELS)})",
    )
    parser.add_argument("--all", action="store_true", help="every op and every model")
    parser.add_argument(
        "--method",
        choices=tuple(METHODS),
        metavar="|".join(METHODS),
        help="default: for an op all that apply, for a model complex",
    )
    parser.add_argument(
        "--dtype", choices=("float64", "float32"), default="float64", help="default: float64"
    )
    parser.add_argument(
        "--engine", choices=("auto", *ENGINES), default="auto", help="compute engine"
    )
    parser.add_argument(
        "--seed", type=at_least_zero(int), default=0, help="of inputs, weights, noise, directions"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="DIR", help="draw the error against the step, and kernels"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print tables; afterwards what is wrong, on standard error."""
    if args.all == (args.target is not None):
        args.parser.error("name an op or a model, or say --all, and not both")
    if args.target is not None and args.target not in {**CASES, **MODELS}:
        known = [*CASES, *MODELS]
        near = get_close_matches(args.target.lower(), known, 1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        args.parser.error(
            f"there is no op and no model {args.target!r}{meant}; there are {', '.join(known)}"
        )
    with using(args.engine) as engine:
        if args.plot is not None:
            args.plot.mkdir(parents=True, exist_ok=True)
        print(f"{args.dtype}, engine {engine}")
        failed = _check_all(args) if args.all else _check_one(args)
        for report in failed:
            say(f"\n{report.failure()}")
        if args.plot is not None:
            _draw(args)
    return 1 if failed else 0


def _check_one(args: argparse.Namespace) -> list[Report]:
    """One op or model, a table for each method and case."""
    failed, done = [], []
    for report in _reports(args, args.target):
        print(f"\n{report}", flush=True)
        done.append(report)
        if not report.passed:
            failed.append(report)
    if not done:
        raise ValueError(f"{args.target} is not linear: adjointness does not apply to it")
    tensors = sum(len(report) for report in done)
    right = sum(result.passed for report in done for result in report)
    print(f"\n{args.target}: {right} of {tensors} gradients right")
    return failed


def _reports(args: argparse.Namespace, name: str) -> Iterator[Report]:
    if name in CASES:
        for method in [args.method] if args.method else OP_METHODS:
            yield from _op_reports(args, name, method)
    else:
        yield check_model(
            *_model_and_batch(args, name), args.method or "complex", seed=args.seed, raises=False
        )


def _op_reports(args: argparse.Namespace, name: str, method: str) -> list[Report]:
    return check_op(name, method, dtype=args.dtype, seed=args.seed, raises=False)


def _model_and_batch(args: argparse.Namespace, name: str) -> tuple[Model, Any, Any]:
    """A model with fresh weights, images of random pixels, and noise."""
    model = build(name, seed=args.seed, dtype=args.dtype)
    rng = np.random.default_rng([args.seed, 5])
    x = rng.uniform(*model.data_range, (BATCH, *model.image_shape)).astype(args.dtype)
    return model, x, model.noise(BATCH, rng)


def _check_all(args: argparse.Namespace) -> list[Report]:
    """Every op and model, a line each."""
    methods = [args.method] if args.method else [*OP_METHODS]
    failed = _check_ops(args, methods)
    model_methods = [method for method in methods if method != "adjoint"]
    return failed + (_check_models(args, model_methods) if model_methods else [])


def _check_ops(args: argparse.Namespace, methods: list[str]) -> list[Report]:
    print("\nthe worst error of each op, over its cases and inputs\n")
    failed, rows = [], [["op", "gradients", *methods, "verdict"]]
    for name in CASES:
        cells, count, passed = [], 0, True
        for method in methods:
            reports = _op_reports(args, name, method)
            cells.append(f"{max(r.worst.error for r in reports):.1e}" if reports else "-")
            count = max(count, sum(len(report) for report in reports))
            passed = passed and all(report.passed for report in reports)
            failed += [report for report in reports if not report.passed]
        rows.append([name, str(count), *cells, "ok" if passed else "FAIL"])
    print(table(rows))
    return failed


def _check_models(args: argparse.Namespace, methods: list[str]) -> list[Report]:
    """The first method has to show every gradient to be right. Of the others only what they call
    wrong counts: differences cannot see all gradients of all models."""
    methods = sorted(methods, key=lambda method: method != "complex")
    judge, *others = methods
    print(f"\nthe worst error of each model, over its parameters; {METHODS[judge]} is the judge\n")
    heads = {m: [m, "its rounding"] if m in ("central", "direction") else [m] for m in methods}
    failed, notes = [], []
    rows = [["model", "gradients", "zero", *(h for m in methods for h in heads[m]), "verdict"]]
    for name in MODELS:
        batch = _model_and_batch(args, name)
        reports = [check_model(*batch, judge, samples=1, seed=args.seed, raises=False)]
        reports += [
            check_model(*batch, method, samples=0, seed=args.seed, raises=False)
            for method in others
        ]
        wrong = [r for r in reports[1:] if any(result.verdict == "FAIL" for result in r)]
        wrong += [] if reports[0].passed else [reports[0]]
        failed += wrong
        cells = []
        for method, report in zip(methods, reports, strict=True):
            worst = max(report, key=lambda result: result.error)
            cells += [f"{worst.error:.1e}", f"{worst.rounding:.1e}"][: len(heads[method])]
        zeros, count = reports[0].zeros, len(reports[0])
        rows.append([name, str(count), str(len(zeros)), *cells, "FAIL" if wrong else "ok"])
        if zeros:
            notes.append(f"{name}: identically zero are {', '.join(zeros)}")
        for method, report in zip(others, reports[1:], strict=True):
            if blind := sum(r.verdict in ("unseen", "kinks") for r in report):
                notes.append(
                    f"{name}: {METHODS[method]} cannot judge {blind} of {count} gradients, for "
                    "rounding or kinks"
                )
    print(table(rows), *notes, sep="\n")
    return failed


def _draw(args: argparse.Namespace) -> None:
    """Pictures of one target, or of all, into the folder."""
    from .. import plots  # here: matplotlib takes a second to import

    print()
    for name in [*CASES, *MODELS] if args.all else [args.target]:
        for subject in _subjects(args, name):
            stem = re.sub(r"\W+", "-", subject.name).strip("-").lower()
            shown = [n for n, g in subject.gradients.items() if g.any()]
            shown = shown[:: -(-len(shown) // 3)]  # three panels fit
            curves = [error_curve(subject, tensor, args.seed) for tensor in shown]
            plots.errors_by_step(subject.name, curves, args.plot / f"{stem}-step.png")
            print(f"{args.plot / stem}-step.png: the error against the step")
            kernels = [
                n
                for n, g in subject.gradients.items()
                if g.ndim == 4 and (n == "w" or n.endswith("weight"))
            ]
            if kernels:
                pair = elementwise(subject, kernels[0], 8)
                title = f"{subject.name}: gradient of {kernels[0]}"
                plots.kernel_gradients(title, *pair, args.plot / f"{stem}-kernels.png")
                print(f"{args.plot / stem}-kernels.png: {title}, analytic and by complex step")


def _subjects(args: argparse.Namespace, name: str) -> Iterator[Subject]:
    if name in CASES:
        yield from (op_subject(name, case, args.dtype, args.seed) for case in CASES[name])
    else:
        yield of_model(*_model_and_batch(args, name))
