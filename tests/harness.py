"""One check for every op: naive = reference = the engine in use, and a gradient that is one.

A test file per op draws shapes and numbers and calls `check_op`; what must hold is said here, once.
"""

import numpy as np

import scratchvae as sv
from scratchvae import ops
from scratchvae.gradcheck import check, tensor_error
from scratchvae.ops import Losses

TOLERANCE = {"float64": 1e-12, "float32": 2e-5}


def check_op(op, arrays, options=(), differentiable=None, gradient=True):
    """Everything that must hold for `op` at these float64 arrays, on the engine in use.

    `differentiable` lists the arrays that get a gradient, in the order of backward's results; by
    default all of them. None among the arrays (no bias) stays None.
    """
    indices = range(len(arrays)) if differentiable is None else differentiable
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    naive = getattr(ops, f"{op}_naive", None)

    for dtype in ("float64", "float32"):
        cast = [a if a is None else _read_only(a.astype(dtype)) for a in arrays]
        y, cache = _call(forward, cast, options)
        expected, expected_cache = _call(forward.reference, cast, options)
        dy = _read_only(np.random.default_rng(7).standard_normal(np.shape(expected)).astype(dtype))
        gradients = _tuple(backward(on_device(dy), cache))
        expected_gradients = _tuple(backward(on_device(dy), expected_cache))
        assert len(gradients) == len(list(indices))
        for result in (y, expected, *gradients, *expected_gradients):
            for a in (*cast, dy):
                if result is not None and a is not None:
                    assert not np.shares_memory(sv.asnumpy(result), a), f"{op} gives an input back"

        if naive is not None:
            _assert_close(f"{op}_naive", _total(naive(*cast, *options)), expected, dtype)
        _assert_close(f"{op}_forward", y, expected, dtype)
        for k, ours, theirs in zip(indices, gradients, expected_gradients, strict=True):
            assert (ours is None) == (theirs is None) == (cast[k] is None)
            if ours is not None:
                assert ours.shape == cast[k].shape
                _assert_close(f"{op}_backward, input {k}", ours, theirs, dtype)

        spread = [a if a is None else _spread_out(a) for a in cast]
        y, cache = _call(forward, spread, options)
        _assert_close(f"{op}_forward of strided inputs", y, expected, dtype)
        spread_dy = on_device(_spread_out(dy))
        for ours, theirs in zip(
            _tuple(backward(spread_dy, cache)), expected_gradients, strict=True
        ):
            if ours is not None:
                _assert_close(f"{op}_backward of strided inputs", ours, theirs, dtype)

    if gradient:
        moving = [k for k in indices if arrays[k] is not None]

        def of_moving(*moved):
            given = list(arrays)
            for k, a in zip(moving, moved, strict=True):
                given[k] = a
            return _call(forward, given, options)

        def gradients_of_moving(dy, cache):
            return tuple(g for g in _tuple(backward(on_device(dy), cache)) if g is not None)

        check(of_moving, gradients_of_moving, *(arrays[k] for k in moving))


def _read_only(a):
    """An op that writes to its input raises."""
    a = np.asarray(a)
    a.flags.writeable = False
    return a


def on_device(a):
    """`a` where the engine in use keeps its arrays."""
    return a if a is None or np.ndim(a) == 0 else sv.asarray(a)


def _call(f, arrays, options):
    y, cache, *_ = f(*map(on_device, arrays), *options)
    return _total(y), cache


def _total(y):
    return y.total if isinstance(y, Losses) else y


def _tuple(gradients):
    return gradients if isinstance(gradients, tuple) else (gradients,)


def _spread_out(a):
    """The same numbers, every other one in memory and the axes in reverse order."""
    if a.ndim == 0:
        return a
    room = np.zeros([2 * n for n in reversed(a.shape)], a.dtype)
    view = room[tuple(slice(None, None, 2) for _ in a.shape)].T
    view[...] = a
    return view


def _assert_close(what, ours, theirs, dtype):
    assert str(ours.dtype) == dtype, f"{what} gives {ours.dtype} for {dtype}"
    ours, theirs = sv.asnumpy(ours), sv.asnumpy(theirs)
    assert ours.shape == theirs.shape, what
    error = tensor_error(theirs.astype("float64"), ours.astype("float64"))
    assert error <= TOLERANCE[dtype], f"{what}: {error:.2g} off in {dtype}"
