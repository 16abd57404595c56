"""`scratchvae check`: check gradients, print tables; exit status 0 only if all are right."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from ..backend import using
from ..gradcheck import METHODS, Report, Result, check_model, check_op
from ..gradcheck.check import op_subject
from ..gradcheck.differences import elementwise, error_curve
from ..gradcheck.subject import of_model
from ..models import MODELS, Model, build
from ..ops import CASES
from ..output import note, table, to_json
from .options import add_command, at_least, config_option, option, path, show, unknown

# By kind of target; the first method must confirm every gradient of a model, see `_check`.
METHODS_OF = {"op": ("central", "complex", "adjoint"), "model": ("complex", "central")}
DIFFERENCES = ("central", "direction")  # these have rounding, and kinks to step over
Checked = tuple[dict[str, Any], Report]  # the record for --json, and the report
BATCH = 2  # images for a model: batch norm needs at least two


def add(commands: Any) -> None:
    parser = add_command(
        commands, "check", run, "check hand-written gradients against numerical derivatives",
        ": those of an op, of a model (every parameter tensor), of all, or in a file that "
        "`scratchvae exercise` has written. The exit status is 0 only if all are right.",
        "scratchvae check conv2d",
        "scratchvae check mlp --method central",
        "scratchvae check batch_norm --plot pictures",
        "scratchvae check --all",
        "scratchvae check relu_exercise.py",
    )  # fmt: skip
    known = f"an op ({', '.join(CASES)}), a model ({', '.join(MODELS)}) or a solved exercise"
    option(parser, "target OP|MODEL|FILE", _target, known, nargs="?")
    option(parser, "--all", bool, "check every op and every model")
    methods = "all that apply to an op; complex for a model"
    option(parser, "--method", tuple(METHODS), "how to check", shown=methods)
    config_option(parser, "dtype", "float64")
    config_option(parser, "engine", "auto")
    option(parser, "--seed N", at_least(0), "random seed", 0)
    option(parser, "--plot DIR", path, "draw errors by step size, and kernels, in DIR")


def run(args: argparse.Namespace) -> int:
    if args.all == (args.target is not None):
        args.parser.error("give either an op, a model or a file, or --all")
    if isinstance(args.target, Path):
        return _check_file(args)
    if args.plot is not None:
        if args.plot.exists() and not args.plot.is_dir():
            raise NotADirectoryError(f"--plot: expected a folder, got the file {args.plot}")
        args.plot.mkdir(parents=True, exist_ok=True)
    with using(args.engine) as engine:
        _show(args, f"{args.dtype}, engine {engine}")
        done = _check_all(args) if args.all else _check_one(args)
        for record, report in done:
            if not record["passed"]:
                note(f"\n{report.failure()}")
        pictures = _draw(args) if args.plot is not None else []
    passed = all(record["passed"] for record, _ in done)
    if args.json:
        asked = {"dtype": args.dtype, "engine": engine, "seed": args.seed}
        checks = [record for record, _ in done]
        print(to_json({**asked, "passed": passed, "checks": checks, "pictures": pictures}))
    return 0 if passed else 1


def _target(given: str) -> str | Path:
    """An argparse type: an op or a model by name, or else a file."""
    if given in CASES or given in MODELS:
        return given
    if Path(given).suffix in (".py", ".cu") or os.path.lexists(given):
        return path(given)
    raise argparse.ArgumentTypeError(unknown("op, model or file", given, (*CASES, *MODELS)))


def _check_file(args: argparse.Namespace) -> int:
    """Judge what was written in a file of `scratchvae exercise`."""
    from ..exercises.bugs import bug_of, judge_bug
    from ..exercises.judging import HEADS, judge

    plain = args.parser.parse_args([str(args.target)])
    for name in ("method", "dtype", "engine", "seed", "plot"):
        if getattr(args, name) != getattr(plain, name):
            args.parser.error(f"--{name} is for ops and models, not for a file")
    try:
        text = args.target.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{args.target}: expected text in UTF-8: {error}") from None
    number = bug_of(text)
    verdict = judge(args.target, text) if number is None else judge_bug(args.target, text, number)
    results = [dict(zip(HEADS, row, strict=True)) for row in verdict.rows]
    record = {"file": str(args.target), "subject": verdict.subject, "passed": verdict.passed,
              "results": results, "wrong": verdict.sentences}  # fmt: skip
    show(args, record, str(verdict))
    return 0 if verdict.passed else 1


def _show(args: argparse.Namespace, *texts: str, flush: bool = False) -> None:
    """Print, unless the output is JSON."""
    if not args.json:
        print(*texts, sep="\n", flush=flush)


def _unseen(results: Iterable[Result]) -> int:
    """The number of gradients that a method cannot judge, because of rounding or kinks."""
    return sum(result.verdict in ("unseen", "kinks") for result in results)


def _model_and_batch(args: argparse.Namespace, name: str) -> tuple[Model, Any, Any]:
    """A model with fresh weights, images of random pixels, and noise."""
    model = build(name, seed=args.seed, dtype=args.dtype)
    rng = np.random.default_rng([args.seed, 5])
    x = rng.uniform(*model.data_range, (BATCH, *model.image_shape)).astype(args.dtype)
    return model, x, model.noise(BATCH, rng)


def _check(args: argparse.Namespace, name: str, methods: Sequence[str]) -> Iterator[Checked]:
    """A report by each method on a model, or on each case of an op to which the method applies.

    A model's first method must confirm every gradient; the others cannot judge some, but must not
    find a wrong one.
    """
    options: dict[str, Any] = {"seed": args.seed, "raises": False}
    for method in methods:
        if name in CASES:
            reports = check_op(name, method, dtype=args.dtype, **options)
        else:
            if args.all:
                options["samples"] = int(method == methods[0])
            reports = [check_model(*_model_and_batch(args, name), method, **options)]
        for report in reports:
            wrong = not report.passed
            if name in MODELS and method != methods[0]:
                wrong = any(result.verdict == "FAIL" for result in report)
            record = {
                "target": name,
                "case": report.subject,
                "method": method,
                "gradients": len(report),
                "zero": len(report.zeros),
                "unseen": _unseen(report),
                "worst_gradient": report.worst.tensor,
                "worst_error": report.worst.error,
                "passed": not wrong,
            }
            yield record, report


def _check_one(args: argparse.Namespace) -> list[Checked]:
    """One op or model, a table for each method and case."""
    name, done = args.target, []
    methods = METHODS_OF["op"] if name in CASES else METHODS_OF["model"][:1]
    for record, report in _check(args, name, [args.method] if args.method else methods):
        _show(args, f"\n{report}", flush=True)
        done.append((record, report))
    if not done:
        raise ValueError(f"{name} is not linear, so the method adjoint does not apply")
    verdicts = [result.passed for _, report in done for result in report]
    _show(args, f"\n{name}: {sum(verdicts)} of {len(verdicts)} gradients right")
    return done


def _check_all(args: argparse.Namespace) -> list[Checked]:
    """Every op, then every model, a line each."""
    done, kinds = [], [("op", [*CASES], "its cases and inputs")]
    if args.method != "adjoint":  # a loss is not linear
        judge = METHODS[args.method or METHODS_OF["model"][0]]
        kinds.append(("model", [*MODELS], f"its parameters; verdict by {judge}"))
    for kind, names, what in kinds:
        methods = [args.method] if args.method else METHODS_OF[kind]
        heads = {m: [m, "rounding", "unseen"] if m in DIFFERENCES else [m] for m in methods}
        rows, notes = [[kind, "gradients", "zero", *chain(*heads.values()), "verdict"]], []
        for name in names:
            checked = [*_check(args, name, methods)]
            done += checked
            row = [name]
            for method in methods:
                results = [r for _, report in checked if report.method == method for r in report]
                if method == methods[0]:
                    zeros = [result.tensor for result in results if result.verdict == "zero"]
                    row += [str(len(results)), str(len(zeros))]
                    if zeros:
                        listed = ", ".join(zeros)
                        notes.append(f"{name}: gradients that are identically zero: {listed}")
                cells = ["-"]
                if results:
                    worst = max(results, key=lambda result: result.error)
                    cells = [f"{worst.error:.1e}", f"{worst.rounding:.1e}", str(_unseen(results))]
                row += cells[: len(heads[method])]
            rows.append([*row, "ok" if all(record["passed"] for record, _ in checked) else "FAIL"])
        _show(args, f"\nworst error of each {kind} over {what}\n", table(rows), *notes, flush=True)
    return done


def _draw(args: argparse.Namespace) -> list[Path]:
    """Draw pictures of one target or of all; returns their paths."""
    from .. import plots  # here: matplotlib takes a second to import

    drawn: dict[Path, str] = {}
    for name in [*CASES, *MODELS] if args.all else [args.target]:
        if name in CASES:
            subjects = [op_subject(name, case, args.dtype, args.seed) for case in CASES[name]]
        else:
            subjects = [of_model(*_model_and_batch(args, name))]
        for subject in subjects:
            stem = args.plot / re.sub(r"\W+", "-", subject.name).strip("-").lower()
            gradients = subject.gradients
            shown = [n for n, g in gradients.items() if g.any()]
            shown = shown[:: -(-len(shown) // 3)]  # three panels fit
            curves = [error_curve(subject, tensor, args.seed) for tensor in shown]
            plots.errors_by_step(subject.name, curves, path := Path(f"{stem}-step.png"))
            drawn[path] = "error against step size"
            weights = [n for n in gradients if n == "w" or n.endswith("weight")]
            if kernels := [n for n in weights if gradients[n].ndim == 4]:
                title = f"{subject.name}: gradient of {kernels[0]}"
                pair = elementwise(subject, kernels[0], 8)
                channels = ("output channel", "input channel")
                if name == "conv_transpose2d":  # the other way round, see ops/conv_transpose2d.py
                    channels = channels[::-1]
                path = Path(f"{stem}-kernels.png")
                plots.kernel_gradients(title, *pair, path, channels)
                drawn[path] = f"{title}, analytic and by complex step"
    _show(args, "", *(f"{path}: {what}" for path, what in drawn.items()))
    return [*drawn]
