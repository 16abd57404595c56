"""An independent second opinion on ops and optimizers: PyTorch, number by number, in float64."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck import tensor_error

pytestmark = pytest.mark.parity
torch = pytest.importorskip("torch", reason="pip install -e '.[parity]'")
F = torch.nn.functional

# op: (shapes of the differentiable arrays, our other arguments, PyTorch's function)
OPS = {
    "conv2d": (
        [(2, 3, 7, 6), (4, 3, 3, 2), (4,)],
        ((2, 1), (1, 0)),
        lambda x, w, b: F.conv2d(x, w, b, (2, 1), (1, 0)),
    ),
    "conv_transpose2d": (
        [(2, 3, 4, 5), (3, 4, 3, 2), (4,)],
        ((2, 3), (1, 0), (1, 2)),
        lambda x, w, b: F.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2)),
    ),
    "linear": ([(3, 4), (5, 4), (5,)], (), F.linear),
    "conv2d_leaky_relu": (
        [(2, 3, 7, 6), (4, 3, 3, 2), (4,)],
        ((2, 1), (1, 0), 0.2),
        lambda x, w, b: F.leaky_relu(F.conv2d(x, w, b, (2, 1), (1, 0)), 0.2),
    ),
    "conv_transpose2d_leaky_relu": (
        [(2, 3, 4, 5), (3, 4, 3, 2), (4,)],
        ((2, 3), (1, 0), (1, 2), 0.2),
        lambda x, w, b: F.leaky_relu(F.conv_transpose2d(x, w, b, (2, 3), (1, 0), (1, 2)), 0.2),
    ),
    "linear_leaky_relu": (
        [(3, 4), (5, 4), (5,)],
        (0.0,),
        lambda x, w, b: F.relu(F.linear(x, w, b)),
    ),
    "max_pool2d": ([(2, 3, 7, 6)], (3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1)),
    "avg_pool2d": ([(2, 3, 7, 6)], (3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "adaptive_avg_pool2d": ([(2, 3, 7, 7)], (4,), lambda x: F.adaptive_avg_pool2d(x, 4)),
    "upsample_nearest": ([(2, 3, 4, 5)], (2,), lambda x: F.interpolate(x, scale_factor=2)),
    "relu": ([(3, 4)], (), F.relu),
    "leaky_relu": ([(3, 4)], (0.2,), lambda x: F.leaky_relu(x, 0.2)),
    "sigmoid": ([(3, 4)], (), torch.sigmoid),
    "tanh": ([(3, 4)], (), torch.tanh),
    "kl": (
        [(3, 4), (3, 4)],
        (),
        lambda mu, v: -0.5 * (1 + v - mu**2 - v.exp()).sum(1),
    ),
}


def gradients(outputs, dy, inputs):
    return [g.numpy() for g in torch.autograd.grad(outputs, inputs, torch.tensor(dy))]


def compare(ours, theirs, tolerance=1e-12):
    assert tensor_error(theirs, sv.asnumpy(ours)) <= tolerance


@pytest.mark.parametrize("op", OPS)
def test_op(engine, op):
    shapes, options, function = OPS[op]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in shapes]
    y, cache = getattr(ops, f"{op}_forward")(*map(sv.asarray, arrays), *options)
    dy = rng.standard_normal(y.shape)
    ours = getattr(ops, f"{op}_backward")(sv.asarray(dy), cache)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays]
    expected = function(*tensors)
    compare(y, expected.detach().numpy())
    ours = ours if isinstance(ours, tuple) else (ours,)
    for gradient, theirs in zip(ours, gradients(expected, dy, tensors), strict=True):
        compare(gradient, theirs)


@pytest.mark.parametrize("loss", ["bce", "mse_mean", "mse_sum"])
def test_loss(engine, loss):
    rng = np.random.default_rng(0)
    x, target, dy = rng.standard_normal((3, 4, 5)), rng.random((3, 4, 5)), rng.standard_normal(3)
    op, _, reduction = loss.partition("_")
    options = (reduction,) if reduction else ()
    y, cache = getattr(ops, f"{op}_forward")(*map(sv.asarray, (x, target)), *options)
    tensor = torch.tensor(x, requires_grad=True)
    function = F.binary_cross_entropy_with_logits if op == "bce" else F.mse_loss
    elements = function(tensor, torch.tensor(target), reduction="none").flatten(1)
    expected = elements.mean(1) if reduction == "mean" else elements.sum(1)
    compare(y, expected.detach().numpy())
    ours = getattr(ops, f"{op}_backward")(sv.asarray(dy), cache)
    compare(ours, gradients(expected, dy, [tensor])[0])


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(engine, training):
    rng = np.random.default_rng(0)
    x, w, b = rng.standard_normal((4, 3, 5, 2)), rng.standard_normal(3), rng.standard_normal(3)
    mean, var = rng.standard_normal(3), rng.uniform(0.5, 2, 3)
    given = map(sv.asarray, (x, mean, var, w, b))
    y, cache, statistics = ops.batch_norm_forward(*given, training, 0.2)
    dy = rng.standard_normal(y.shape)
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, w, b)]
    running = [torch.tensor(a) for a in (mean, var)]
    expected = F.batch_norm(tensors[0], *running, *tensors[1:], training, 0.2)
    compare(y, expected.detach().numpy())
    for ours, theirs in zip(statistics, running, strict=True):
        compare(ours, theirs.numpy())
    for ours, theirs in zip(
        ops.batch_norm_backward(sv.asarray(dy), cache),
        gradients(expected, dy, tensors),
        strict=True,
    ):
        compare(ours, theirs)


OPTIMIZERS = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.01, "betas": (0.8, 0.99), "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
]


@pytest.mark.parametrize(("name", "options"), OPTIMIZERS)
def test_optimizer(engine, name, options):
    model = sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), dtype="float64")
    theirs = torch.nn.Parameter(torch.tensor(sv.asnumpy(model.flat_value)))
    our_step = getattr(sv.optim, name)(model, **options).step
    their_step = getattr(torch.optim, name)([theirs], **options).step
    rng = np.random.default_rng(0)
    for _ in range(10):
        grad = rng.standard_normal(model.flat_value.size)
        model.flat_grad, theirs.grad = sv.asarray(grad), torch.tensor(grad)
        our_step()
        their_step()
    compare(model.flat_value, theirs.detach().numpy())


def test_clip_grad_norm(engine):
    model = sv.models.build("mlp", latent_dim=2, image_shape=(1, 2, 2), dtype="float64")
    model.flat_grad = sv.asarray(np.random.default_rng(0).standard_normal(model.flat_grad.size))
    theirs = torch.nn.Parameter(torch.zeros(model.flat_grad.size, dtype=torch.float64))
    theirs.grad = torch.tensor(sv.asnumpy(model.flat_grad))
    norm = torch.nn.utils.clip_grad_norm_([theirs], 3.0)
    assert float(sv.optim.clip_grad_norm(model, 3.0)) == pytest.approx(float(norm), rel=1e-12)
    compare(model.flat_grad, theirs.grad.numpy())


def batch_norm(training):
    """Statistics are copied: PyTorch writes the new ones into its arguments."""
    return lambda x, mean, var, w, b: F.batch_norm(x, mean.clone(), var.clone(), w, b, training)


def per_image(loss):
    return lambda output, target: loss(output, target, reduction="none").flatten(1).sum(1)


CHANNELS = [(3,)] * 4
# op and variant: (shapes, our other arguments, PyTorch's function, which arrays get a gradient).
# Convolutions are in tests/ops: which zeros of a padding PyTorch multiplies depends on its kernel.
NOT_FINITE = {
    op: (shapes, options, function, range(len(shapes)))
    for op, (shapes, options, function) in OPS.items()
    if not op.startswith("conv")
} | {
    "batch_norm: training": ([(4, 3, 5, 2), *CHANNELS], (True,), batch_norm(True), (0, 3, 4)),
    "batch_norm: evaluation": ([(4, 3, 5, 2), *CHANNELS], (False,), batch_norm(False), (0, 3, 4)),
    "bce": ([(3, 4)] * 2, (), per_image(F.binary_cross_entropy_with_logits), (0,)),
    "mse": ([(3, 4)] * 2, ("sum",), per_image(F.mse_loss), (0,)),
    "linear_leaky_relu": (  # a slope of 0 is ReLU, but for 0 x infinity
        [(3, 4), (5, 4), (5,)], (0.0,),
        lambda x, w, b: F.leaky_relu(F.linear(x, w, b), 0.0), range(3),
    ),
    "reparameterize": (
        [(3, 4)] * 3, (), lambda mu, logvar, eps: mu + torch.exp(logvar / 2) * eps, (0, 1),
    ),
}  # fmt: skip


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", NOT_FINITE)
def test_where_a_value_that_is_not_finite_goes(engine, name, value):
    shapes, options, function, differentiable = NOT_FINITE[name]
    op, rng = name.partition(":")[0], np.random.default_rng(0)
    arrays = [rng.uniform(0.1, 0.9, shape) for shape in shapes]
    y = getattr(ops, f"{op}_forward").reference(*map(sv.asarray, arrays), *options)[0]
    given = [*arrays, rng.standard_normal(y.shape)]
    for k, a in enumerate(given):
        if (op == "bce" and k == 1) or (op == "batch_norm" and k == 2):
            continue  # a target is refused; a variance is not negative
        for at in {0, a.size // 2, a.size - 1}:
            *moved, dy = [b.copy() for b in given]
            [*moved, dy][k].flat[at] = value
            with np.errstate(all="ignore"):
                y, cache, *_ = getattr(ops, f"{op}_forward")(*map(sv.asarray, moved), *options)
                ours = getattr(ops, f"{op}_backward")(sv.asarray(dy), cache)
            ours = [y, *(ours if isinstance(ours, tuple) else (ours,))]
            tensors = [
                torch.tensor(b, requires_grad=i in differentiable) for i, b in enumerate(moved)
            ]
            expected = function(*tensors)
            theirs = gradients(expected, dy, [tensors[i] for i in differentiable])
            for one, other in zip(ours, [expected.detach().numpy(), *theirs], strict=True):
                what = f"{value} in array {k}, element {at}"
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
