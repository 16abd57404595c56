"""Slips in the gradient check itself: it would be content with wrong gradients."""

from planting import Fault

DISTRUST = "tests/gradcheck/test_distrust.py"
DOUBTS = "tests/gradcheck/test_doubts.py"

FAULTS = [
    Fault(
        "check-with-dy-of-ones",
        "scratchvae.gradcheck.subject",
        [("np.random.default_rng([seed, 1]).standard_normal(np.shape(y))", "np.ones(np.shape(y))")],
        "dy is ones: the gradient of a batch norm is zero then, and 17 times zero as well",
        f"{DISTRUST}::test_seventeen_times_the_gradient_of_a_batch_norm",
    ),
    Fault(
        "check-passes-over-nan",
        "scratchvae.gradcheck.doubts",
        [("return off if math.isfinite(off) else math.inf", "return off")],
        "`error > limit` is false for a NaN: a gradient of NaN passes",
        "tests/gradcheck/test_check.py::test_lies_are_told[0-nan-complex]",
    ),
    Fault(
        "check-trusts-the-dy-it-gave-away",
        "scratchvae.gradcheck.subject",
        [("given_dy = asarray(dy.copy())\n    gradients =", "given_dy = dy\n    gradients =")],
        "backward gets the judge's own dy, changes it in place, and is judged by what it left",
        f"{DISTRUST}::test_a_backward_that_changes_dy_is_refused",
    ),
    Fault(
        "check-calls-anything-a-kink",
        "scratchvae.gradcheck.doubts",
        [("0 < shortest.off <= 0.51 * kink", "kink > 0")],
        "every disagreement at a kink is excused, whatever its size",
        f"{DOUBTS}::test_a_kink_excuses_no_more_than_its_own_size",
    ),
    Fault(
        "check-believes-what-rounding-left",
        "scratchvae.gradcheck.judge",
        [('"seen" if m.rounding <= tolerance * scales.of(m) else "blind"', '"seen"')],
        "an output that no longer changes for rounding agrees with a gradient of zero",
        f"{DISTRUST}::test_zero_does_not_agree_with_what_rounding_has_taken[central]",
    ),
    Fault(
        "check-knows-zero-by-rounding",
        "scratchvae.gradcheck.judge",
        [(" and (hidden <= tolerance * largest_of_all or hidden == 0)", "")],
        "zero is what differences cannot tell from zero, however coarse they are",
        f"{DOUBTS}::test_zero_is_not_what_rounding_hides[1e+16]",
    ),
    Fault(
        "check-trusts-the-complex-step",
        "scratchvae.gradcheck.differences",
        [("if subject.analytic_to is None:", "if True:")],
        "abs under a complex step gives wrong numbers and no error, and nobody asks",
        "tests/gradcheck/test_refusals.py::test_the_complex_step_refuses_what_is_not_analytic[abs]",
    ),
]
