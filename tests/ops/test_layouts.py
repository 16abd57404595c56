"""Every op equals the reference for every memory layout of its arrays, in memory full of NaN.

A kernel must read an array by its strides, and must write every number that it returns. A common
mistake is to write into a view that is in fact a copy: the result is then old memory.
"""

from itertools import permutations

import numpy as np
import pytest
from harness import TOLERANCE, on_device, run_op
from numpy.testing import assert_allclose, assert_array_equal

import scratchvae as sv
from scratchvae import ops
from scratchvae.data.batches import look_up
from scratchvae.ops import CASES
from scratchvae.optim import adam_step, clip_to_norm, sgd_step

OPS = sorted(set(CASES) - {"elbo"})

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_cores", "memory_full_of_nan")]


def in_order(a, order):
    """The same numbers with the axes in this order in memory."""
    return a.transpose(order).copy().transpose(np.argsort(order))


def backwards(a, axes):
    """The same numbers with these axes reversed in memory."""
    return np.flip(np.flip(a, axes).copy(), axes)


def with_gaps(a):
    """Every third number of a larger array, which has other numbers between them."""
    room = np.full([3 * n for n in a.shape], np.nan if a.dtype.kind == "f" else 99, a.dtype)
    view = room[tuple(slice(1, None, 3) for _ in a.shape)]
    view[...] = a
    return view


def unaligned(a):
    """The same numbers at addresses that are off by one byte."""
    room = np.empty(a.nbytes + 1, np.uint8)[1:]
    view = room.view(a.dtype).reshape(a.shape)
    view[...] = a
    assert view.flags.aligned == (a.itemsize == 1)
    return view


def repeated(a, axis):
    """The first entry along an axis, repeated with a stride of 0."""
    return np.broadcast_to(a.take([0], axis), a.shape)


def writable(a):
    """name, view: the layouts in which an array can be updated in place."""
    for name, view in layouts(a):
        if "repeated" not in name and "everywhere" not in name and name != "read-only":
            yield name, view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def layouts(a):
    """name, view: the same numbers (except in the repeated ones) in different layouts."""
    for order in permutations(range(a.ndim)):
        yield f"axes in memory {order}", in_order(a, order)
    axes = [*range(a.ndim)]
    for reversed_axes in (*([k] for k in axes), axes):
        yield f"axes {reversed_axes} backwards", backwards(a, reversed_axes)
    yield "axes swapped and backwards", backwards(a.T, axes).T
    yield "gaps", with_gaps(a)
    yield "gaps, axes swapped", with_gaps(a.T).T
    yield "a row of a wider array", np.concatenate([a, a], axis=-1)[..., : a.shape[-1]]
    yield "unaligned", unaligned(a)
    yield "unaligned, axes swapped", unaligned(a.T).T
    yield "read-only", read_only(a)
    for axis in axes:
        yield f"axis {axis} repeated", repeated(a, axis)
    yield "one number everywhere", np.broadcast_to(a.flat[0], a.shape)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("op", OPS)
def test_any_layout(engine, op, dtype):
    reference = getattr(ops, f"{op}_forward").reference
    for case in CASES[op]:
        arrays = [a.astype(dtype) for a in case.arrays(0).values()]
        shape = reference(*arrays, **case.options)[0].shape
        dy = np.random.default_rng(1).standard_normal(shape).astype(dtype)
        given = [*arrays, dy]
        for k, a in enumerate(given):
            for name, view in layouts(a):
                moved = [*given[:k], view, *given[k + 1 :]]
                before = view.tobytes()
                ours = run_op(op, moved[:-1], case.options, moved[-1])
                *plain, plain_dy = (m.copy() for m in moved)
                with sv.using("numpy"):
                    theirs = run_op(op, plain, case.options, plain_dy, reference)
                assert view.tobytes() == before
                what = f"{op}, {[*case.shapes, 'dy'][k]}: {name}"
                for one, other in zip(ours, theirs, strict=True):
                    assert one.dtype == other.dtype, what
                    scale = max(np.abs(other).max(), 0.05)
                    assert_allclose(one, other, rtol=0, atol=TOLERANCE[dtype] * scale, err_msg=what)


UPDATES = {
    "adam": (adam_step, 4, (3, 1e-2, 0.9, 0.999, 1e-8, 0.1, False)),
    "adamw": (adam_step, 4, (3, 1e-2, 0.9, 0.999, 1e-8, 0.1, True)),
    "sgd": (sgd_step, 3, (1e-2, 0.9, 0.1, True)),
    "clip": (clip_to_norm, 1, (0.5,)),
}


@pytest.mark.parametrize("shape", [(700,), (7, 5), (2, 3, 4)])
@pytest.mark.parametrize("update", UPDATES)
def test_updates_in_any_layout(engine, update, shape):
    function, count, options = UPDATES[update]
    arrays = np.random.default_rng(0).uniform(0.1, 1, (count, *shape))
    expected = [a.copy() for a in arrays]
    function.__wrapped__(*expected, *options)
    for k in range(count):
        for name, view in writable(arrays[k]):
            moved = [on_device(view if i == k else a.copy()) for i, a in enumerate(arrays)]
            function(*moved, *options)
            for one, other in zip(moved, expected, strict=True):
                assert_allclose(sv.asnumpy(one), other, rtol=1e-12, err_msg=f"array {k}: {name}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batches_of_images_in_any_layout(dtype):
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 4), np.uint8)
    chosen, levels = np.array([4, 0, 0, 3]), np.linspace(0, 1, 256, dtype=dtype)
    with sv.using("numba"):
        for name, view in layouts(images):
            x = look_up(view, chosen, levels)
            assert_array_equal(x, levels[view[chosen]], err_msg=name)
        for name, order in layouts(chosen):
            x = look_up(images, order, levels)
            assert_array_equal(x, levels[images[order]], err_msg=name)
