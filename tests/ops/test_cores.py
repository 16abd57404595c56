"""Each kernel equals the reference with the batch on three cores, in memory full of NaN."""

from dataclasses import replace

import numpy as np
import pytest
from harness import WEIGHTS, convolutions, run_op
from numpy.testing import assert_allclose

import scratchvae as sv
from scratchvae.backend import find_kernel
from scratchvae.kernels.cpu.convolution import correlate
from scratchvae.ops import CASES
from scratchvae.ops.cases import Case

OPS = [op for op in CASES if find_kernel("numba", op, f"{op}_forward")]
WIDE_STEPS = {  # the convolutions in CASES have a column stride of 1
    "conv2d": Case(
        {"x": (2, 3, 6, 7), "w": (4, 3, 3, 3), "b": (4,)}, {"stride": (1, 2), "padding": (2, 1)}
    ),
    "conv_transpose2d": Case(
        {"x": (2, 3, 4, 5), "w": (3, 4, 3, 3), "b": (4,)}, {"stride": (1, 2), "padding": (1, 1)}
    ),
}
CONVOLUTIONS = [op for op in OPS if op.startswith("conv")]
WITHOUT_ALGORITHMS = [op for op in OPS if op not in CONVOLUTIONS]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("three_cores", "memory_full_of_nan")]


def check_on_cores(op, case, N):
    """y and all gradients of N images."""
    rows = {name: (N, *shape[1:]) for name, shape in case.shapes.items() if name not in WEIGHTS}
    arrays = replace(case, shapes=case.shapes | rows).arrays(0)
    results = []
    for engine in ("numpy", "numba"):
        with sv.using(engine):
            draw = np.random.default_rng(1).standard_normal
            results.append(run_op(op, arrays.values(), case.options, draw))
    for theirs, ours in zip(*results, strict=True):
        assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("N", [5, 2])  # shared unevenly; fewer than cores
@pytest.mark.parametrize("op", WITHOUT_ALGORITHMS)
def test_three_cores(op, N):
    for case in CASES[op]:
        check_on_cores(op, case, N)


@pytest.mark.parametrize("N", [5, 2])
@pytest.mark.parametrize("algorithm", correlate.ALGORITHMS)
@pytest.mark.parametrize("op", CONVOLUTIONS)
def test_three_cores_every_algorithm(op, algorithm, N):
    """With one image at a time."""
    with convolutions(algorithm, padded_bytes=1):
        for case in [*CASES[op], WIDE_STEPS[op]]:
            check_on_cores(op, case, N)
