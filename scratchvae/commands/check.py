"""`scratchvae check`: are the gradients right? A table, and exit status 0 only if all are."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from ..backend import ENGINES, using
from ..gradcheck import METHODS, Report, check_model
from ..gradcheck.cases import CASES
from ..gradcheck.differences import elementwise, error_curve
from ..gradcheck.report import table
from ..models import MODELS
from .checked import Checked, model_and_batch, op_reports, record, subjects, unseen
from .options import at_least_zero, json_option, print_json, say

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
    json_option(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print tables, or JSON; afterwards what is wrong, on standard error."""
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
        _show(args, f"{args.dtype}, engine {engine}")
        done = _check_all(args) if args.all else _check_one(args)
        for checked in done:
            if checked.wrong:
                say(f"\n{checked.report.failure()}")
        pictures = _draw(args) if args.plot is not None else []
    passed = not any(checked.wrong for checked in done)
    if args.json:
        print_json(
            {"dtype": args.dtype, "engine": engine, "seed": args.seed, "passed": passed,
             "checks": [record(checked) for checked in done], "pictures": pictures}
        )  # fmt: skip
    return 0 if passed else 1


def _show(args: argparse.Namespace, *texts: str, flush: bool = False) -> None:
    """For people: not beside JSON."""
    if not args.json:
        print(*texts, sep="\n", flush=flush)


def _check_one(args: argparse.Namespace) -> list[Checked]:
    """One op or model, a table for each method and case."""
    done = []
    for report in _reports(args, args.target):
        _show(args, f"\n{report}", flush=True)
        done.append(Checked(args.target, report, not report.passed))
    if not done:
        raise ValueError(f"{args.target} is not linear: adjointness does not apply to it")
    tensors = sum(len(checked.report) for checked in done)
    right = sum(result.passed for checked in done for result in checked.report)
    _show(args, f"\n{args.target}: {right} of {tensors} gradients right")
    return done


def _reports(args: argparse.Namespace, name: str) -> Iterator[Report]:
    if name in CASES:
        for method in [args.method] if args.method else OP_METHODS:
            yield from op_reports(args, name, method)
    else:
        yield check_model(
            *model_and_batch(args, name), args.method or "complex", seed=args.seed, raises=False
        )


def _check_all(args: argparse.Namespace) -> list[Checked]:
    """Every op and model, a line each."""
    methods = [args.method] if args.method else [*OP_METHODS]
    done = _check_ops(args, methods)
    model_methods = [method for method in methods if method != "adjoint"]
    return done + (_check_models(args, model_methods) if model_methods else [])


def _check_ops(args: argparse.Namespace, methods: list[str]) -> list[Checked]:
    _show(args, "\nthe worst error of each op, over its cases and inputs\n")
    done, rows = [], [["op", "gradients", *methods, "verdict"]]
    for name in CASES:
        cells, count, passed = [], 0, True
        for method in methods:
            reports = op_reports(args, name, method)
            cells.append(f"{max(r.worst.error for r in reports):.1e}" if reports else "-")
            count = max(count, sum(len(report) for report in reports))
            passed = passed and all(report.passed for report in reports)
            done += [Checked(name, report, not report.passed) for report in reports]
        rows.append([name, str(count), *cells, "ok" if passed else "FAIL"])
    _show(args, table(rows))
    return done


def _check_models(args: argparse.Namespace, methods: list[str]) -> list[Checked]:
    """The first method has to show every gradient to be right. Of the others only what they call
    wrong counts: differences cannot see all gradients of all models."""
    methods = sorted(methods, key=lambda method: method != "complex")
    judge, *others = methods
    _show(
        args,
        f"\nthe worst error of each model, over its parameters; {METHODS[judge]} is the judge\n",
    )
    heads = {m: [m, "its rounding"] if m in ("central", "direction") else [m] for m in methods}
    done, notes = [], []
    rows = [["model", "gradients", "zero", *(h for m in methods for h in heads[m]), "verdict"]]
    for name in MODELS:
        batch = model_and_batch(args, name)
        reports = [check_model(*batch, judge, samples=1, seed=args.seed, raises=False)]
        reports += [
            check_model(*batch, method, samples=0, seed=args.seed, raises=False)
            for method in others
        ]
        checked = [
            Checked(name, report, any(result.verdict == "FAIL" for result in report))
            for report in reports[1:]
        ]
        checked.append(Checked(name, reports[0], not reports[0].passed))
        done += checked
        cells = []
        for method, report in zip(methods, reports, strict=True):
            worst = max(report, key=lambda result: result.error)
            cells += [f"{worst.error:.1e}", f"{worst.rounding:.1e}"][: len(heads[method])]
        zeros, count = reports[0].zeros, len(reports[0])
        rows.append(
            [
                name,
                str(count),
                str(len(zeros)),
                *cells,
                "FAIL" if any(c.wrong for c in checked) else "ok",
            ]
        )
        if zeros:
            notes.append(f"{name}: identically zero are {', '.join(zeros)}")
        for method, report in zip(others, reports[1:], strict=True):
            if blind := unseen(report):
                notes.append(
                    f"{name}: {METHODS[method]} cannot judge {blind} of {count} gradients, for "
                    "rounding or kinks"
                )
    _show(args, table(rows), *notes)
    return done


def _draw(args: argparse.Namespace) -> list[Path]:
    """Pictures of one target, or of all, into the folder; returns their paths."""
    from .. import plots  # here: matplotlib takes a second to import

    _show(args, "")
    drawn = []
    for name in [*CASES, *MODELS] if args.all else [args.target]:
        for subject in subjects(args, name):
            stem = re.sub(r"\W+", "-", subject.name).strip("-").lower()
            shown = [n for n, g in subject.gradients.items() if g.any()]
            shown = shown[:: -(-len(shown) // 3)]  # three panels fit
            curves = [error_curve(subject, tensor, args.seed) for tensor in shown]
            drawn.append(args.plot / f"{stem}-step.png")
            plots.errors_by_step(subject.name, curves, drawn[-1])
            _show(args, f"{drawn[-1]}: the error against the step")
            kernels = [
                n
                for n, g in subject.gradients.items()
                if g.ndim == 4 and (n == "w" or n.endswith("weight"))
            ]
            if kernels:
                pair = elementwise(subject, kernels[0], 8)
                title = f"{subject.name}: gradient of {kernels[0]}"
                drawn.append(args.plot / f"{stem}-kernels.png")
                plots.kernel_gradients(title, *pair, drawn[-1])
                _show(args, f"{drawn[-1]}: {title}, analytic and by complex step")
    return drawn
