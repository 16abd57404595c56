"""What `scratchvae check` checks, and its results as records."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from ..gradcheck import Report, check_op
from ..gradcheck.check import op_subject
from ..gradcheck.subject import Subject, of_model
from ..models import Model, build
from ..ops import CASES

BATCH = 2  # images a model is checked with: the least that batch norm can do with anywhere


class Checked(NamedTuple):
    """A report, the op or model that it is about, and whether it makes the check fail."""

    target: str
    report: Report
    wrong: bool


def record(checked: Checked) -> dict[str, Any]:
    """For JSON."""
    report = checked.report
    return {
        "target": checked.target,
        "case": report.subject,
        "method": report.method,
        "gradients": len(report),
        "zero": len(report.zeros),
        "unseen": unseen(report),
        "worst_gradient": report.worst.tensor,
        "worst_error": report.worst.error,
        "passed": not checked.wrong,
    }


def unseen(report: Report) -> int:
    """How many gradients the method cannot judge, for rounding or kinks."""
    return sum(result.verdict in ("unseen", "kinks") for result in report)


def op_reports(args: argparse.Namespace, name: str, method: str) -> list[Report]:
    """One for each case of the op to which the method applies."""
    return check_op(name, method, dtype=args.dtype, seed=args.seed, raises=False)


def model_and_batch(args: argparse.Namespace, name: str) -> tuple[Model, Any, Any]:
    """A model with fresh weights, images of random pixels, and noise."""
    model = build(name, seed=args.seed, dtype=args.dtype)
    rng = np.random.default_rng([args.seed, 5])
    x = rng.uniform(*model.data_range, (BATCH, *model.image_shape)).astype(args.dtype)
    return model, x, model.noise(BATCH, rng)


def subjects(args: argparse.Namespace, name: str) -> Iterator[Subject]:
    """The cases of an op, or the model."""
    if name in CASES:
        yield from (op_subject(name, case, args.dtype, args.seed) for case in CASES[name])
    else:
        yield of_model(*model_and_batch(args, name))
