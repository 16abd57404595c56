"""Compared with PyTorch: where a value that is not finite goes, and running statistics.

tests/golden compares the values of all ops and optimizers with those that PyTorch has computed.
"""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck import tensor_error

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
F = torch.nn.functional

from torch_ops import torch_op  # noqa: E402

EXAMPLES = [
    pytest.param(op, case, id=f"{op}{f', {case.variant}' if case.variant else ''}")
    for op, cases in ops.CASES.items()
    for case in cases
]


def gradients(outputs, dy, inputs):
    return [g.numpy() for g in torch.autograd.grad(outputs, inputs, torch.tensor(dy))]


def compare(ours, theirs, tolerance=1e-12):
    assert tensor_error(theirs, sv.asnumpy(ours)) <= tolerance


NOT_FINITE = {
    # Formulas for ops that PyTorch's distributions reject or compute differently. Convolutions are
    # in tests/ops: which zeros of the padding PyTorch multiplies depends on its kernel.
    "linear": F.linear,
    "batch_norm": torch_op("batch_norm"),
    "max_pool2d": F.max_pool2d,
    "avg_pool2d": F.avg_pool2d,
    "adaptive_avg_pool2d": F.adaptive_avg_pool2d,
    "upsample_nearest": torch_op("upsample_nearest"),
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "bce": lambda logits, target: (
        F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).sum(1)
    ),
    "mse": torch_op("mse"),
    "kl": lambda mu, v: -0.5 * (1 + v - mu**2 - v.exp()).sum(1),
    "reparameterize": lambda mu, logvar, eps: mu + torch.exp(logvar / 2) * eps,
}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("op", "case"), [e for e in EXAMPLES if e.values[0] in NOT_FINITE])
def test_where_a_value_that_is_not_finite_goes(engine, op, case, value):
    rng = np.random.default_rng(0)
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    given = {name: rng.uniform(0.1, 0.9, shape) for name, shape in case.shapes.items()}
    y = forward.reference(*map(sv.asarray, given.values()), **case.options)[0]
    given["dy"] = rng.standard_normal(y.shape)
    for name, a in given.items():
        if name in ("target", "running_var"):
            continue  # targets are rejected; variances are not negative
        for at in {0, a.size // 2, a.size - 1}:
            moved = {n: b.copy() for n, b in given.items()}
            moved[name].flat[at] = value
            dy = moved.pop("dy")
            tensors = {
                n: torch.tensor(b, requires_grad=n not in case.constants) for n, b in moved.items()
            }
            with np.errstate(all="ignore"):
                y, cache, *_ = forward(*map(sv.asarray, moved.values()), **case.options)
                ours = backward(sv.asarray(dy), cache)
            ours = [y, *(ours if isinstance(ours, tuple) else (ours,))]
            expected = NOT_FINITE[op](*tensors.values(), **case.options)
            theirs = gradients(expected, dy, [t for t in tensors.values() if t.requires_grad])
            theirs = [expected.detach().numpy(), *theirs]
            for one, other in zip([g for g in ours if g is not None], theirs, strict=True):
                what = f"{value} in {name}, element {at}"
                assert_array_equal(np.isfinite(sv.asnumpy(one)), np.isfinite(other), what)


@pytest.mark.parametrize("momentum", [None, 0.1, 0.0, 1.0])
def test_running_statistics(engine, momentum):
    ours = sv.layers.BatchNorm2d(3, momentum=momentum, dtype="float64")
    theirs = torch.nn.BatchNorm2d(3, momentum=momentum).double()
    rng = np.random.default_rng(0)
    for N in (4, 1, 3):
        x = rng.standard_normal((N, 3, 2, 3))
        compare(ours.forward(sv.asarray(x)), theirs(torch.tensor(x)).detach().numpy())
    for name in ours.buffers:
        compare(getattr(ours, name), getattr(theirs, name).numpy())
