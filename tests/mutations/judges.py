"""Three kinds of check, asked about a planted fault: do they see it?

    gradient    the backward against differences of the forward
    naive       the forward against the loops that read the formula aloud
    engines     Numba's numbers against NumPy's, forward and backward

Each takes the name of an op or a model and returns True (it sees the fault), False, or None where
it has nothing to say: no loops, no kernel. What raises is seen, too.
"""

from unittest.mock import patch

import numpy as np
from harness import distinct

import scratchvae as sv
from scratchvae import ops
from scratchvae.backend import find_kernel
from scratchvae.gradcheck import check, check_model, tensor_error

ENGINES = ("numpy", "numba")


def _cases():
    """op -> [(arrays, options, which of the arrays get a gradient)]: small, and no two sizes alike
    where an op could mistake one for the other."""
    rng = np.random.default_rng(0)
    draw = rng.standard_normal
    x = draw((3, 2, 5, 7))
    logvar, target = draw((3, 4)), rng.random((3, 4))
    norm = (draw((3, 4, 5, 2)), draw(4), rng.uniform(0.5, 2, 4), draw(4), draw(4))
    window = ((3, 2), (2, 1), (1, 1))
    cases = {
        "conv2d": [((x, draw((4, 2, 3, 2)), draw(4)), ((2, 1), (2, 1)), (0, 1, 2))],
        "conv_transpose2d": [
            ((x, draw((2, 4, 3, 2)), draw(4)), ((3, 2), (2, 1), (1, 0)), (0, 1, 2))
        ],
        "linear": [((draw((3, 4)), draw((5, 4)), draw(5)), (), (0, 1, 2))],
        "batch_norm": [(norm, (training,), (0, 3, 4)) for training in (True, False)],
        "max_pool2d": [((distinct(rng, (2, 3, 5, 7)) - 2,), window, (0,))],
        "avg_pool2d": [((x,), window, (0,))],
        "adaptive_avg_pool2d": [((x,), ((3, 4),), (0,))],
        "upsample_nearest": [((x,), ((2, 3),), (0,))],
        "relu": [((distinct(rng, (3, 4)),), (), (0,))],
        "leaky_relu": [((distinct(rng, (3, 4)),), (0.2,), (0,))],
        "sigmoid": [((logvar,), (), (0,))],
        "tanh": [((logvar,), (), (0,))],
        "mean_logvar": [((x,), (), (0,))],
        "reparameterize": [((draw((3, 4)), logvar, draw((3, 4))), (), (0, 1))],
        "bce": [((logvar, target), (), (0,))],
        "mse": [((logvar, target), (reduction,), (0,)) for reduction in ("mean", "sum")],
        "kl": [((draw((3, 4)), logvar), (), (0, 1))],
        "elbo": [((rng.random(3), rng.random(3)), (2.5,), (0, 1))],
    }
    for variants in cases.values():
        for arrays, _, _ in variants:
            for a in arrays:
                a.flags.writeable = False  # a fault that writes into them must not stay behind
    return cases


OPS = _cases()
SMALL = {  # model -> options; celeba and skip get few channels as well
    "mlp": {"image_shape": (2, 3, 4), "latent_dim": 3, "kl_weight": 2.5},
    "conv": {"image_shape": (1, 4, 8), "latent_dim": 3, "kl_weight": 2.5},
    "tiny": {"latent_dim": 2, "kl_weight": 2.5},
    "celeba": {"image_shape": (2, 32, 64), "latent_dim": 3, "kl_weight": 2.5},
    "skip": {"image_shape": (1, 64, 64)},
    "ae": {"image_shape": (2, 3, 4), "latent_dim": 3},
}
FEW_CHANNELS = (2, 3, 4, 5, 6)


def gradient(subject):
    """Finite differences of an op on either engine; the complex step for a model."""
    if subject in SMALL:
        return _gradient_of_model_is_wrong(*_small_model(subject))
    for engine in ENGINES:
        for arrays, options, moving in OPS[subject]:
            with sv.using(engine):
                _check(subject, arrays, options, moving)
    return False


def _check(op, arrays, options, moving):
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")

    def of_moving(*moved):
        given = dict(enumerate(arrays)) | dict(zip(moving, moved, strict=True))
        return forward(*given.values(), *options)

    check(of_moving, backward, *(arrays[k] for k in moving))


def _gradient_of_model_is_wrong(model, x, eps):
    return not max(check_model(model, x, eps, samples=0).values()) <= 1e-10


def naive(subject):
    """An op's forward on either engine against its loops."""
    loops = getattr(ops, f"{subject}_naive", None)
    if loops is None:
        return None
    for engine in ENGINES:
        for arrays, options, _ in OPS[subject]:
            with sv.using(engine):
                y = getattr(ops, f"{subject}_forward")(*arrays, *options)[0]
            expected = loops(*arrays, *options)
            if _differ(y.total if isinstance(y, ops.Losses) else y, expected):
                return True
    return False


def engines(subject):
    """Numba against NumPy: y and all gradients of an op, all gradients of a model."""
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
    for arrays, options, _ in OPS[subject]:
        results = []
        for engine in ENGINES:
            with sv.using(engine):
                y, cache = getattr(ops, f"{subject}_forward")(*arrays, *options)
                dy = np.random.default_rng(1).standard_normal(y.shape)
                gradients = getattr(ops, f"{subject}_backward")(dy, cache)
            results.append([y, *(gradients if isinstance(gradients, tuple) else (gradients,))])
        if any(map(_differ, *results)):
            return True
    return False


JUDGES = {"gradient": gradient, "naive": naive, "engines": engines}


def ask(judge, subject):
    """True, False or None; see above."""
    if subject is None or (subject in SMALL and judge == "naive"):
        return None
    try:
        with np.errstate(all="ignore"):
            return JUDGES[judge](subject)
    except Exception:
        return True


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
