import numpy as np
import pytest
from harness import check_op, on_device
from hypothesis import given
from hypothesis import strategies as st

from scratchvae.ops import linear_forward

size = st.integers(1, 6)


@given(seed=st.integers(0, 2**32 - 1), N=size, inputs=size, outputs=size, bias=st.booleans())
def test_linear(engine, seed, N, inputs, outputs, bias):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal((N, inputs)), rng.standard_normal((outputs, inputs))
    check_op("linear", (x, w, rng.standard_normal(outputs) if bias else None))


def test_a_long_batch(engine):
    """db is a sum of sums over chunks of rows; 131 = 2 * 64 + 3."""
    rng = np.random.default_rng(0)
    shapes = (131, 2), (3, 2), (3,)
    check_op("linear", [rng.standard_normal(shape) for shape in shapes], gradient=False)


def zeros(*shape):
    return on_device(np.zeros(shape))


def test_errors(engine):
    with pytest.raises(ValueError, match=r"linear_forward: w \(O, I\) must have I = 3, got"):
        linear_forward(zeros(2, 3), zeros(5, 4))
    with pytest.raises(ValueError, match=r"x must have axes \(N, I\), got shape \(2, 3, 4\)"):
        linear_forward(zeros(2, 3, 4), zeros(5, 4))
    with pytest.raises(ValueError, match=r"b must have axes \(O,\), got shape \(1, 5\)"):
        linear_forward(zeros(2, 4), zeros(5, 4), zeros(1, 5))
