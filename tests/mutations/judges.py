"""Four kinds of check. Do they find a planted fault?

    gradient    compares backward with differences of forward
    naive       compares forward with plain loops that follow the formula
    engines     compares Numba with NumPy, forward and backward
    pytorch     compares forward and backward with stored results of PyTorch

Each takes the name of an op or a model and returns True (it finds the fault), False, or None if it
does not apply: no loops, no kernel. An exception counts as finding the fault. The cases of an op
are those of `scratchvae check`; convolutions use each of the kernels' algorithms, not only the one
that is fastest for such small arrays.
"""

from unittest.mock import patch

import numpy as np
from golden import cases, test_golden
from harness import FEW_CHANNELS, TOLERANCE

import scratchvae as sv
from scratchvae import ops
from scratchvae.backend import find_kernel
from scratchvae.gradcheck import check_model, check_op, tensor_error
from scratchvae.kernels.cpu.convolution.correlate import ALGORITHMS
from scratchvae.ops import CASES

ENGINES = ("numpy", "numba")


SMALL = {  # model -> options; celeba and skip get few channels as well
    "mlp": {"image_shape": (2, 3, 4), "latent_dim": 3, "kl_weight": 2.5},
    "conv": {"image_shape": (1, 4, 8), "latent_dim": 3, "kl_weight": 2.5},
    "tiny": {"latent_dim": 2, "kl_weight": 2.5},
    "celeba": {"image_shape": (2, 32, 64), "latent_dim": 3, "kl_weight": 2.5},
    "skip": {
        "image_shape": (1, 64, 64),
        "kl_weight": 1e-8,
    },  # with a larger one, the gradient through z is only rounding
    "ae": {"image_shape": (2, 3, 4), "latent_dim": 3},
}


def gradient(subject):
    """For an op, differences along random directions on both engines; for a model, the complex
    step."""
    if subject in SMALL:
        return not check_model(*_small_model(subject), samples=0, raises=False).passed
    for engine in ENGINES:
        with sv.using(engine):
            if not all(report.passed for report in check_op(subject, "direction", raises=False)):
                return True
    return False


def naive(subject):
    """An op's forward on both engines compared with its loops."""
    loops = getattr(ops, f"{subject}_naive", None)
    if loops is None:
        return None
    for engine in ENGINES:
        for case in CASES[subject]:
            arrays = _read_only(case)
            with sv.using(engine):
                y = getattr(ops, f"{subject}_forward")(**arrays, **case.options)[0]
            expected = loops(**arrays, **case.options)
            if _differ(y.total if isinstance(y, ops.Losses) else y, expected):
                return True
    return False


def engines(subject):
    """Numba compared with NumPy: y and all gradients of an op, all gradients of a model."""
    if subject in SMALL:
        results = []
        for engine in ENGINES:
            with sv.using(engine):
                model, x, eps = _small_model(subject)
                model.loss(x, eps)
                model.backward()
                results.append([model.flat_grad])
        return any(map(_differ, *results))
    if find_kernel("numba", subject, f"{subject}_forward") is None:
        return None
    forward = getattr(ops, f"{subject}_forward")
    for case in CASES[subject]:
        results = []
        for engine in ENGINES:
            with sv.using(engine):
                y, cache, *more = forward(**_read_only(case), **case.options)
                dy = np.random.default_rng(1).standard_normal(y.shape)
                gradients = getattr(ops, f"{subject}_backward")(dy, cache)
            gradients = gradients if isinstance(gradients, tuple) else (gradients,)
            results.append([y, *sum(more, ()), *(g for g in gradients if g is not None)])
        if any(map(_differ, *results)):
            return True
    return False


def pytorch(subject):
    """Comparison with all stored values of an op or model (tests/golden/), on both engines."""
    if subject in SMALL:
        names = [case for case, (model, *_) in cases.MODELS.items() if model == subject]
        runs = [(test_golden.test_model, name) for name in names]
    else:
        names = [case for case, (op, *_) in cases.OPS.items() if op == subject]
        runs = [(test_golden.test_op, name, dtype) for name in names for dtype in TOLERANCE]
    for engine in ENGINES:
        with sv.using(engine):
            for test, *arguments in runs:
                test(engine, *arguments)  # raises if it finds the fault
    return False


JUDGES = {"gradient": gradient, "naive": naive, "engines": engines, "pytorch": pytorch}


def ask(judge, subject):
    """True, False or None; see above."""
    if subject is None or (subject in SMALL and judge == "naive"):
        return None
    try:
        with np.errstate(all="ignore"):
            if not subject.startswith(("conv2d", "conv_transpose2d")):
                return JUDGES[judge](subject)
            answers = [_ask_one_algorithm(judge, subject, algorithm) for algorithm in ALGORITHMS]
            return None if None in answers else any(answers)
    except Exception:
        return True


def _ask_one_algorithm(judge, subject, algorithm):
    with patch("scratchvae.kernels.cpu.convolution.correlate.fastest", lambda *_: (algorithm, 1.0)):
        return JUDGES[judge](subject)


def _read_only(case):
    """The arrays as read-only: a fault that writes into its inputs must not affect other checks."""
    arrays = case.arrays(0)
    for a in arrays.values():
        a.flags.writeable = False
    return arrays


def _small_model(name):
    with (
        patch("scratchvae.models.celeba.CHANNELS", FEW_CHANNELS),
        patch("scratchvae.models.skip.CHANNELS", FEW_CHANNELS),
    ):
        model = sv.models.build(name, seed=0, dtype="float64", **SMALL[name])
    rng = np.random.default_rng(1)
    x = rng.uniform(*model.data_range, (3, *model.image_shape))
    return model, x, model.noise(3, rng)


def _differ(ours, theirs):
    if np.shape(ours) != np.shape(theirs):
        return True
    return not tensor_error(np.asarray(theirs), np.asarray(ours)) <= 1e-12
