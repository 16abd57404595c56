"""One check for every op: naive = reference = current engine, and a correct gradient.

A test file per op draws shapes and numbers and calls `check_op`, which checks all that must hold.
"""

from contextlib import contextmanager
from unittest.mock import patch

import numpy as np

import scratchvae as sv
from scratchvae import ops
from scratchvae.backend import current_engine
from scratchvae.gradcheck import GradientError, check
from scratchvae.kernels.cpu.convolution import correlate, indirection
from scratchvae.ops import CASES, Losses

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}
ON_CUDA = 1e-5  # in float32
FEW_CHANNELS = (2, 3, 4, 5, 6)  # of the models celeba and skip


@contextmanager
def convolutions(algorithm, padded_bytes=1 << 19):
    """Make all convolution kernels use one algorithm; the direct one with this many bytes of padded
    images at a time, but at least one image."""
    with (
        patch.object(correlate, "fastest", lambda *_: (algorithm, 1.0)),
        patch.object(indirection, "PADDED_BYTES", padded_bytes),
        patch.object(indirection, "forward_buffer", indirection.forward_buffer.__wrapped__),
        patch.object(indirection, "back_buffer", indirection.back_buffer.__wrapped__),
    ):
        yield


def check_op(op, arrays, options=(), differentiable=None, gradient=True, linear=None):
    """Check everything that must hold for `op` with these float64 arrays on the current engine.

    `differentiable` lists the arrays that get a gradient, in the order of backward's results; by
    default all of them. None among the arrays (no bias) stays None. `linear` names the arrays in
    which the op is linear, if they differ from those of its first example case.
    """
    indices = range(len(arrays)) if differentiable is None else differentiable
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    naive = getattr(ops, f"{op}_naive", None)

    for dtype in TOLERANCE:
        # Numba compiles a kernel again for read-only inputs; one dtype shows that they are taken.
        given_as = _read_only if dtype == "float64" else np.asarray
        cast = [a if a is None else given_as(a.astype(dtype)) for a in arrays]
        before = [None if a is None else a.tobytes() for a in cast]
        expected, expected_cache = _call(forward.reference, cast, options)
        dy = np.random.default_rng(7).standard_normal(np.shape(expected))
        dy = given_as(dy.astype(dtype))
        before.append(dy.tobytes())
        floor = 0.05 * np.abs(dy).max()
        right = as_tuple(backward(on_device(dy), expected_cache))
        if naive is not None:  # it may subtract numbers near 1 where the body does not, as in expm1
            _assert_close(f"{op}_naive", _total(naive(*cast, *options)), expected, dtype, 0.05)
        for what, view in (("", np.asarray), (" of strided inputs", _spread_out)):
            given = [a if a is None else view(a) for a in cast]
            y, cache = _call(forward, given, options)
            gradients = as_tuple(backward(on_device(view(dy)), cache))
            assert len(gradients) == len(list(indices))
            _assert_close(f"{op}_forward{what}", y, expected, dtype)
            for k, ours, theirs in zip(indices, gradients, right, strict=True):
                assert (ours is None) == (theirs is None) == (cast[k] is None)
                if ours is not None:
                    assert ours.shape == cast[k].shape
                    _assert_close(f"{op}_backward{what}, input {k}", ours, theirs, dtype, floor)
            results = [a for a in (y, expected, *gradients, *right) if a is not None]
            for a in (a for a in (*cast, dy) if a is not None):
                shared = [result for result in results if np.shares_memory(sv.asnumpy(result), a)]
                assert not shared, f"{op} returns memory of an input"
        after = [None if a is None else a.tobytes() for a in (*cast, dy)]
        assert after == before, f"{op} changes inputs"

    _check_batch(op, arrays, options, indices)
    if gradient:
        _check_gradients(op, arrays, options, indices, linear)


def _check_somewhere(*pair_and_inputs, **options):
    """`check`, repeated where it is inconclusive: a small gradient among large outputs is below the
    rounding of differences and sums. Another dy helps unless there is only one number; the complex
    step subtracts nothing, so it always helps. A wrong gradient is wrong in each of them."""
    for seed in (0, 1):
        try:
            check(*pair_and_inputs, seed=seed, **options)
            return
        except GradientError as error:
            if error.report.worst.verdict not in ("unseen", "kinks"):
                raise
    check(*pair_and_inputs, **options | {"method": "complex"})


def _check_gradients(op, arrays, options, indices, linear):
    """Central differences for every element, the complex step, and adjointness for linear ops."""
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    moving = [k for k in indices if arrays[k] is not None]
    names = [*CASES[op][0].shapes]
    linear = CASES[op][0].linear if linear is None else linear

    def of_moving(*moved):
        given = list(arrays)
        for k, a in zip(moving, moved, strict=True):
            given[k] = a
        return _call(forward, given, options)

    def gradients_of_moving(dy, cache):
        return tuple(g for g in as_tuple(backward(on_device(dy), cache)) if g is not None)

    inputs = [_read_only(arrays[k]) for k in moving]
    # Launches on a GPU are slow; all gradients there have been compared with the reference's.
    samples = 1 if current_engine() == "cuda" else None
    _check_somewhere(of_moving, gradients_of_moving, *inputs, samples=samples)
    check(of_moving, gradients_of_moving, *inputs, method="complex", samples=1)
    if only := [f"input {i}" for i, k in enumerate(moving) if names[k] in linear]:
        _check_somewhere(of_moving, gradients_of_moving, *inputs, method="adjoint", only=only)


WEIGHTS = {"w", "b", "running_mean", "running_var"}  # all other arrays have a row for each image


def _check_batch(op, arrays, options, indices):
    """Permuted images give permuted results and the same weight gradients. An image alone gives the
    same result as within a batch, except for ops with batch statistics."""
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    names = [*CASES[op][0].shapes]
    order = np.random.default_rng(8).permutation(len(arrays[0]))
    axis = {"mean_logvar": 1, "elbo": None}.get(op, 0)  # the axis of y for images

    def reordered(a, name, order):
        return a if a is None or name in WEIGHTS else a[order]

    def results(order, dy=None):
        cast = [reordered(a, name, order) for a, name in zip(arrays, names, strict=True)]
        y, cache = _call(forward, cast, options)
        y = sv.asnumpy(y)
        if dy is None:
            dy = np.asarray(np.random.default_rng(7).standard_normal(y.shape))
        else:
            dy = dy if axis is None else dy.take(order, axis)
        return y, dy, as_tuple(backward(on_device(dy), cache))

    y, dy, gradients = results(np.arange(len(order)))
    other_y, _, other_gradients = results(order, dy)
    _assert_close(f"{op}, images reordered", other_y, _take(y, order, axis), "float64")
    floor = 0.05 * np.abs(dy).max()
    for k, g, other in zip(indices, gradients, other_gradients, strict=True):
        if g is not None:
            expected = reordered(sv.asnumpy(g), names[k], order)
            _assert_close(f"{op}_backward, images reordered", other, expected, "float64", floor)
    of_the_batch = op == "kl_free_bits" or (op.startswith("batch_norm") and options[0])
    if axis is not None and not of_the_batch:
        for n in range(len(order)):
            alone, _, _ = results(np.array([n]))
            _assert_close(f"{op} of one image", alone, _take(y, [n], axis), "float64")


def run_op(op, arrays, options, dy, forward=None):
    """y, new statistics and gradients as NumPy arrays, without those that are None. `options`: by
    name; `dy`: an array or a function of y's shape; `forward`: if not the op's own."""
    forward = forward or getattr(ops, f"{op}_forward")
    y, cache, *statistics = forward(*map(on_device, arrays), **options)
    dy = dy(y.shape) if callable(dy) else dy
    gradients = as_tuple(getattr(ops, f"{op}_backward")(on_device(dy), cache))
    found = [y, *sum(statistics, ()), *gradients]
    return [sv.asnumpy(a) for a in found if a is not None]


def _take(y, order, axis):
    return y if axis is None else y.take(order, axis)


def _read_only(a):
    """An op that writes to its input raises."""
    a = np.asarray(a)
    a.flags.writeable = False
    return a


def on_device(a):
    """`a` on the device of the current engine."""
    return a if a is None or np.ndim(a) == 0 else sv.asarray(a)


def _call(f, arrays, options):
    y, cache, *_ = f(*map(on_device, arrays), *options)
    return _total(y), cache


def _total(y):
    return y.total if isinstance(y, Losses) else y


def as_tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def _spread_out(a):
    """The same numbers with gaps between them in memory and the axes in reverse order."""
    if a.ndim == 0:
        return a
    room = np.zeros([2 * n for n in reversed(a.shape)], a.dtype)
    view = room[tuple(slice(None, None, 2) for _ in a.shape)].T
    view[...] = a
    return view


def _assert_close(what, ours, theirs, dtype, floor=0.0):
    """Equal up to rounding, relative to the largest element or to `floor`, whichever is larger: a
    gradient is a sum, which may be near zero by chance and then consists of rounding errors."""
    assert str(ours.dtype) == dtype, f"{what} gives {ours.dtype} for {dtype}"
    ours, theirs = sv.asnumpy(ours), sv.asnumpy(theirs)
    assert ours.shape == theirs.shape, what
    off = np.abs(theirs.astype("float64") - ours.astype("float64")).max()
    tolerance = ON_CUDA if current_engine() == "cuda" and dtype == "float32" else TOLERANCE[dtype]
    limit = tolerance * max(np.abs(theirs).max(), floor)
    assert off <= limit, f"{what}: {off:.2g} off in {dtype}, limit {limit:.2g}"
