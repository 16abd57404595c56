"""Mistakes in the gradient check itself, with which it would accept wrong gradients."""

from planting import Fault

DISTRUST = "tests/gradcheck/test_distrust.py"
DOUBTS = "tests/gradcheck/test_doubts.py"
COARSE = "tests/gradcheck/test_coarse.py"
TRIALS = "tests/gradcheck/test_trials.py"

FAULTS = [
    Fault(
        "check-with-dy-of-ones",
        "scratchvae.gradcheck.subject",
        [("np.random.default_rng([seed, 1]).standard_normal(y.shape)", "np.ones(y.shape)")],
        "dy is ones: the gradient of a batch norm is zero then, and 17 times zero as well",
        f"{DISTRUST}::test_seventeen_times_the_gradient_of_a_batch_norm",
    ),
    Fault(
        "check-passes-over-nan",
        "scratchvae.gradcheck.judge",
        [("off = off if math.isfinite(off) else math.inf", "pass")],
        "`error > limit` is false for a NaN: a gradient of NaN passes",
        "tests/gradcheck/test_check.py::test_lies_are_told[0-nan-complex]",
    ),
    Fault(
        "check-trusts-the-dy-it-gave-away",
        "scratchvae.gradcheck.subject",
        [
            (
                '_check_unchanged("backward changes", {"dy": dy}, {"dy": outputs.joined(parts)})',
                "pass",
            )
        ],
        "backward changes dy in place, as in a residual block, and the check does not say so",
        f"{DISTRUST}::test_a_backward_that_changes_dy_is_refused",
    ),
    Fault(
        "check-calls-anything-a-kink",
        "scratchvae.gradcheck.judge",
        [("0 < shortest.off <= 0.51 * kink", "kink > 0")],
        "every disagreement at a kink is excused, whatever its size",
        f"{DOUBTS}::test_a_kink_excuses_no_more_than_its_own_size",
    ),
    Fault(
        "check-believes-what-rounding-left",
        "scratchvae.gradcheck.judge",
        [('"seen" if m.rounding <= self.allowed(m) else "blind"', '"seen"')],
        "an output that no longer changes for rounding agrees with a gradient of zero",
        f"{DISTRUST}::test_zero_does_not_agree_with_what_rounding_has_taken[central]",
    ),
    Fault(
        "check-knows-zero-by-rounding",
        "scratchvae.gradcheck.judge",
        [("hidden <= BESIDE * self.subject.largest or hidden == 0", "True")],
        "zero is what differences cannot tell from zero, however coarse they are",
        f"{DOUBTS}::test_zero_is_not_what_rounding_hides[1e+16]",
    ),
    Fault(
        "check-trusts-the-complex-step",
        "scratchvae.gradcheck.differences",
        [("if subject.analytic_to is None:", "if True:")],
        "abs under a complex step gives wrong numbers and no error, and this is not checked",
        "tests/gradcheck/test_refusals.py::test_the_complex_step_refuses_what_is_not_analytic[abs]",
    ),
    Fault(
        "check-takes-standing-still-for-zero",
        "scratchvae.gradcheck.rounding",
        [("return OF_A_JUMP * _jumps(line, max(reach, LEAST_REACH))", "return 0.0")],
        "the rounding of y's dtype is taken for the function's own: float32 inside, zero agrees",
        f"{COARSE}::test_zero_never_agrees_with_a_function_that_stands_still[0]",
    ),
    Fault(
        "check-takes-plateaus-of-rounding-for-constant",
        "scratchvae.gradcheck.rounding",
        [("return 0.0 if is_constant(line) else OF_A_JUMP * _jumps(line, PLATEAU)", "return 0.0")],
        "an element whose output stands still over a short step is constant, however coarse it is",
        f"{COARSE}::test_one_element_that_is_very_coarse",
    ),
    Fault(
        "check-leaves-none-out",
        "scratchvae.gradcheck.subject",
        [("if n not in {*gradients, *without_gradient}", "if False")],
        "a gradient that comes back as None is left out of the table",
        "tests/gradcheck/test_check.py::test_none_is_not_checked",
    ),
    Fault(
        "check-calls-backward-once",
        "scratchvae.gradcheck.trials",
        [("(_again, _linear,", "(")],
        "backward is called once, with one dy: a dw that is never reset passes, and a clipped dy",
        f"{TRIALS}::test_faults_of_a_backward[options0-clipped at 4]",
    ),
    Fault(
        "check-passes-over-nan-for-zeros",
        "scratchvae.gradcheck.trials",
        [
            (
                "return not largest(got - expected) <= allowed",
                "return largest(got - expected) > allowed",
            )
        ],
        "a NaN is not larger than zero: dy * (dy / dy) passes for a dy of zeros",
        f"{TRIALS}::test_faults_of_a_backward[options0-dy over dy]",
    ),
    Fault(
        "check-casts-gradients",
        "scratchvae.gradcheck.trials",
        [("if g.dtype != pair.inputs[n].dtype", "if g.dtype.kind != pair.inputs[n].dtype.kind")],
        "a gradient of float32 for an input of float64 passes",
        f"{TRIALS}::test_faults_of_a_backward[options0-dtype]",
    ),
    Fault(
        "check-asks-contiguous-arrays-only",
        "scratchvae.gradcheck.trials",
        [
            (
                "    view = buffer[tuple(slice(None, None, 2) for _ in a.shape)].T\n",
                "    view = a.copy()\n",
            )
        ],
        "x and dy are contiguous in every trial",
        f"{TRIALS}::test_faults_of_a_backward[options0-memory of dy]",
    ),
    Fault(
        "check-believes-what-is-small-beside-another",
        "scratchvae.gradcheck.judge",
        [("m.numeric == 0 or rounding.is_constant(m.line)", "True")],
        "a gradient of zeros passes where the true one is small beside another tensor's",
        f"{COARSE}::test_small_beside_another_and_a_constant_is_not_zero",
    ),
]
