"""Slips in the terms of the objective: halves, twos, means."""

from planting import Fault

FAULTS = [
    Fault(
        "mse-without-its-two",
        "scratchvae.ops.mse",
        [("difference * (2 / divisor)", "difference * (1 / divisor)")],
        "the derivative of a square without its factor 2",
        "tests/ops/test_losses.py::test_mse[numpy]",
        "mse",
    ),
    Fault(
        "mse-without-its-mean",
        "scratchvae.ops.mse",
        [("difference * (2 / divisor)", "difference * 2")],
        "forward is a mean over the pixels, backward that of a sum: 1/P is missing",
        "tests/ops/test_losses.py::test_mse[numpy]",
        "mse",
    ),
    Fault(
        "kl-half-lost",
        "scratchvae.ops.kl",
        [("y = 0.5 * (mu**2", "y = (mu**2")],
        "forward lacks the half in front of the sum",
        "tests/ops/test_losses.py::test_kl_is_the_divergence[numpy]",
        "kl",
    ),
    Fault(
        "kl-half-lost-throughout",
        "scratchvae.ops.kl",
        [
            ("y = 0.5 * (mu**2", "y = (mu**2"),
            ("return dy * mu, dy * var_minus_1 / 2", "return 2 * dy * mu, dy * var_minus_1"),
        ],
        "forward and backward lack the half: twice the KL term, differentiated rightly",
        "tests/ops/test_losses.py::test_kl_is_the_divergence[numpy]",
        "kl",
    ),
    Fault(
        "kl-dlogvar-half-lost",
        "scratchvae.ops.kl",
        [("dy * var_minus_1 / 2", "dy * var_minus_1")],
        "dlogvar of the KL term lacks its half",
        "tests/ops/test_losses.py::test_kl[numpy]",
        "kl",
    ),
    Fault(
        "kl-loses-its-digits",
        "scratchvae.ops.kl",
        [("array_module(mu).expm1(logvar)", "array_module(mu).exp(logvar) - 1")],
        "exp(logvar) - 1 as it is written: near logvar = 0 only rounding is left",
        "tests/ops/test_losses.py::test_kl_near_zero_keeps_its_digits[numpy]",
        "kl",
    ),
    Fault(
        "dlogvar-half-lost",
        "scratchvae.ops.reparameterize",
        [("dz * eps * std / 2", "dz * eps * std")],
        "dlogvar of the sample lacks the half of exp(logvar / 2)",
        "tests/ops/test_losses.py::test_reparameterize[numpy]",
        "reparameterize",
    ),
    Fault(
        "dmu-is-dz-itself",
        "scratchvae.ops.reparameterize",
        [("return dz.copy(),", "return dz,")],
        "dmu and dz are one array: who adds to the one in place adds to the other",
        "tests/ops/test_losses.py::test_reparameterize[numpy]",
        "reparameterize",
    ),
    Fault(
        "logvar-of-the-squared-variance",
        "scratchvae.ops.mean_logvar",
        [
            ("xp.log(var + eps)])", "xp.log((var + eps) ** 2)])"),
            ("(2 * dlogvar / var_plus_eps)", "(4 * dlogvar / var_plus_eps)"),
        ],
        "the variance is squared once more, as if it were a deviation; differentiated rightly",
        "tests/ops/test_mean_logvar.py::test_it_is_the_log_of_the_variance[numpy]",
        "mean_logvar",
    ),
    Fault(
        "elbo-weight-lost-backward",
        "scratchvae.ops.elbo",
        [
            (
                "return dreconstruction, beta * dreconstruction",
                "return dreconstruction, dreconstruction.copy()",
            )
        ],
        "backward forgets the weight of the KL term",
        "tests/ops/test_losses.py::test_elbo[numpy]",
        "elbo",
    ),
    Fault(
        "elbo-averaged-twice",
        "scratchvae.ops.elbo",
        [("dtotal / len(reconstruction)", "dtotal / len(reconstruction) ** 2")],
        "backward divides by the size of the batch twice",
        "tests/ops/test_losses.py::test_elbo[numpy]",
        "elbo",
    ),
    Fault(
        "float64-from-a-constant",
        "scratchvae.ops.mse",
        [("difference * (2 / divisor)", "difference * array_module(dy).float64(2 / divisor)")],
        "a float64 scalar makes the gradient of a float32 loss float64, and all that follows it",
        "tests/ops/test_losses.py::test_mse[numpy]",
        "mse",
    ),
]
