"""The errors of numeric derivatives by step size, which `scratchvae check OP --plot` draws."""

import numpy as np
import pytest

from scratchvae.gradcheck.check import op_subject
from scratchvae.gradcheck.differences import STEPS, error_curve
from scratchvae.ops import CASES, OPS


@pytest.mark.parametrize("op", OPS)
def test_every_op_has_a_curve(op):
    subject = op_subject(op, CASES[op][0], "float64", 0)
    for name in subject.gradients:
        curve = error_curve(subject, name)
        assert len(curve.steps) == len(curve.central) == len(curve.complex)
        assert curve.complex[-1] < 1e-12


def test_a_curve_ends_where_a_step_changes_nothing():
    subject = op_subject("elbo", CASES["elbo"][0], "float64", 0)
    curve = error_curve(subject, "kl")
    assert 1e-16 < curve.steps[-1] < 1e-14
    assert np.array_equal(curve.steps, STEPS[: len(curve.steps)])
