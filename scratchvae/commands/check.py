"""`scratchvae check`: check gradients, print tables; exit status 0 only if all are right."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..backend import using
from ..gradcheck import METHODS, Report, check_model, check_op
from ..gradcheck.check import op_subject
from ..gradcheck.differences import elementwise, error_curve
from ..gradcheck.subject import of_model
from ..models import MODELS, Model, build
from ..ops import CASES
from ..output import note, table, to_json
from .options import add_command, at_least, config_option, one_of, option, path

OP_METHODS = ("central", "complex", "adjoint")
BATCH = 2  # images for a model: batch norm needs at least two


def add(commands: Any) -> None:
    parser = add_command(
        commands, "check", run, "check hand-written gradients against numerical derivatives",
        ": those of an op, of a model (every parameter tensor), or of all. The exit status is 0 "
        "only if the check has confirmed every gradient.",
        "scratchvae check conv2d",
        "scratchvae check mlp --method central",
        "scratchvae check batch_norm --plot pictures",
        "scratchvae check --all",
    )  # fmt: skip
    known = f"an op ({', '.join(CASES)}) or a model ({', '.join(MODELS)})"
    option(parser, "target OP|MODEL", one_of("op or model", [*CASES, *MODELS]), known, nargs="?")
    option(parser, "--all", bool, "check every op and every model")
    methods = "all that apply to an op; complex for a model"
    option(parser, "--method", tuple(METHODS), "how to check", shown=methods)
    config_option(parser, "dtype", "float64")
    config_option(parser, "engine", "auto")
    option(parser, "--seed N", at_least(0), "random seed", 0)
    option(parser, "--plot DIR", path, "draw errors by step size, and kernels, in DIR")


class Checked(NamedTuple):
    """A report on an op or model, and whether it makes the check fail."""

    target: str
    report: Report
    wrong: bool


def run(args: argparse.Namespace) -> int:
    if args.all == (args.target is not None):
        args.parser.error("give either an op or a model, or --all")
    if args.plot is not None:
        if args.plot.exists() and not args.plot.is_dir():
            raise NotADirectoryError(f"--plot: expected a folder, got the file {args.plot}")
        args.plot.mkdir(parents=True, exist_ok=True)
    with using(args.engine) as engine:
        _show(args, f"{args.dtype}, engine {engine}")
        done = _check_all(args) if args.all else _check_one(args)
        for checked in done:
            if checked.wrong:
                note(f"\n{checked.report.failure()}")
        pictures = _draw(args) if args.plot is not None else []
    passed = not any(checked.wrong for checked in done)
    if args.json:
        asked = {"dtype": args.dtype, "engine": engine, "seed": args.seed}
        checks = [_record(checked) for checked in done]
        print(to_json({**asked, "passed": passed, "checks": checks, "pictures": pictures}))
    return 0 if passed else 1


def _record(checked: Checked) -> dict[str, Any]:
    target, report, wrong = checked
    return {
        "target": target,
        "case": report.subject,
        "method": report.method,
        "gradients": len(report),
        "zero": len(report.zeros),
        "unseen": _unseen(report),
        "worst_gradient": report.worst.tensor,
        "worst_error": report.worst.error,
        "passed": not wrong,
    }


def _unseen(report: Report) -> int:
    """The number of gradients that the method cannot judge, because of rounding or kinks."""
    return sum(result.verdict in ("unseen", "kinks") for result in report)


def _show(args: argparse.Namespace, *texts: str, flush: bool = False) -> None:
    """Print, unless the output is JSON."""
    if not args.json:
        print(*texts, sep="\n", flush=flush)


def _model_and_batch(args: argparse.Namespace, name: str) -> tuple[Model, Any, Any]:
    """A model with fresh weights, images of random pixels, and noise."""
    model = build(name, seed=args.seed, dtype=args.dtype)
    rng = np.random.default_rng([args.seed, 5])
    x = rng.uniform(*model.data_range, (BATCH, *model.image_shape)).astype(args.dtype)
    return model, x, model.noise(BATCH, rng)


def _check(args: argparse.Namespace, name: str, method: str, **options: Any) -> list[Checked]:
    """A report on a model, or on each case of an op to which the method applies."""
    options |= {"seed": args.seed, "raises": False}
    if name in CASES:
        reports = check_op(name, method, dtype=args.dtype, **options)
    else:
        reports = [check_model(*_model_and_batch(args, name), method, **options)]
    return [Checked(name, report, not report.passed) for report in reports]


def _check_one(args: argparse.Namespace) -> list[Checked]:
    """One op or model, a table for each method and case."""
    name, done = args.target, []
    for method in [args.method] if args.method else OP_METHODS if name in CASES else ["complex"]:
        for checked in _check(args, name, method):
            _show(args, f"\n{checked.report}", flush=True)
            done.append(checked)
    if not done:
        raise ValueError(f"{name} is not linear, so the method adjoint does not apply")
    verdicts = [result.passed for checked in done for result in checked.report]
    _show(args, f"\n{name}: {sum(verdicts)} of {len(verdicts)} gradients right")
    return done


def _check_all(args: argparse.Namespace) -> list[Checked]:
    """Every op and model, a line each."""
    methods = [args.method] if args.method else [*OP_METHODS]
    _show(args, "\nworst error of each op over its cases and inputs\n")
    done, rows = [], [["op", "gradients", *methods, "verdict"]]
    for name in CASES:
        found, cells, count = [], [], 0
        for method in methods:
            checked = _check(args, name, method)
            worst = max((c.report.worst.error for c in checked), default=None)
            cells.append("-" if worst is None else f"{worst:.1e}")
            count = max(count, sum(len(c.report) for c in checked))
            found += checked
        rows.append([name, str(count), *cells, _verdict(found)])
        done += found
    _show(args, table(rows))
    if methods != ["adjoint"]:
        done += _check_models(args, [method for method in methods if method != "adjoint"])
    return done


def _check_models(args: argparse.Namespace, methods: list[str]) -> list[Checked]:
    """The first method must pass every gradient; the others, which miss some, must not FAIL."""
    judge, *_ = methods = sorted(methods, key=lambda method: method != "complex")
    _show(args, f"\nworst error of each model over its parameters; verdict by {METHODS[judge]}\n")
    heads = {m: [m, "rounding"] if m in ("central", "direction") else [m] for m in methods}
    done, notes = [], []
    rows = [["model", "gradients", "zero", *(h for m in methods for h in heads[m]), "verdict"]]
    for name in MODELS:
        checked, cells = [], []
        for method in methods:
            (found,) = _check(args, name, method, samples=int(method == judge))
            report = found.report
            if method == judge:
                cells = [str(len(report)), str(len(report.zeros))]
                if zeros := ", ".join(report.zeros):
                    notes.append(f"{name}: gradients that are identically zero: {zeros}")
            else:
                found = found._replace(wrong=any(r.verdict == "FAIL" for r in report))
                if blind := _unseen(report):
                    notes.append(
                        f"{name}: {METHODS[method]} cannot judge {blind} of {len(report)} "
                        "gradients, because of rounding or kinks"
                    )
            worst = max(report, key=lambda result: result.error)
            cells += [f"{worst.error:.1e}", f"{worst.rounding:.1e}"][: len(heads[method])]
            checked.append(found)
        rows.append([name, *cells, _verdict(checked)])
        done += checked
    _show(args, table(rows), *notes)
    return done


def _verdict(checked: list[Checked]) -> str:
    return "FAIL" if any(c.wrong for c in checked) else "ok"


def _draw(args: argparse.Namespace) -> list[Path]:
    """Draw pictures of one target or of all; returns their paths."""
    from .. import plots  # here: matplotlib takes a second to import

    _show(args, "")
    drawn: list[Path] = []
    for name in [*CASES, *MODELS] if args.all else [args.target]:
        if name in CASES:
            subjects = [op_subject(name, case, args.dtype, args.seed) for case in CASES[name]]
        else:
            subjects = [of_model(*_model_and_batch(args, name))]
        for subject in subjects:
            stem = re.sub(r"\W+", "-", subject.name).strip("-").lower()
            gradients = subject.gradients
            shown = [n for n, g in gradients.items() if g.any()]
            shown = shown[:: -(-len(shown) // 3)]  # three panels fit
            curves = [error_curve(subject, tensor, args.seed) for tensor in shown]
            drawn.append(args.plot / f"{stem}-step.png")
            plots.errors_by_step(subject.name, curves, drawn[-1])
            _show(args, f"{drawn[-1]}: error against step size")
            weights = [n for n in gradients if n == "w" or n.endswith("weight")]
            if kernels := [n for n in weights if gradients[n].ndim == 4]:
                title = f"{subject.name}: gradient of {kernels[0]}"
                drawn.append(args.plot / f"{stem}-kernels.png")
                pair = elementwise(subject, kernels[0], 8)
                channels = ("output channel", "input channel")
                if name == "conv_transpose2d":  # the other way round, see ops/conv_transpose2d.py
                    channels = channels[::-1]
                plots.kernel_gradients(title, *pair, drawn[-1], channels)
                _show(args, f"{drawn[-1]}: {title}, analytic and by complex step")
    return drawn
