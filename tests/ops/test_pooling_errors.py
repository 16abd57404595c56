"""max_pool2d and avg_pool2d accept and reject the same arguments."""

import numpy as np
import pytest
from harness import on_device

from scratchvae.ops import avg_pool2d_forward, max_pool2d_forward


@pytest.mark.parametrize("forward", [max_pool2d_forward, avg_pool2d_forward])
@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ((5,), ValueError, r"window \(5, 5\) is larger than the padded image \(4, 3\)"),
        ((2, 0), ValueError, "stride must be at least 1, got 0"),
        ((2, 2, 2), ValueError, r"padding \(2, 2\) must be at most half of kernel_size \(2, 2\)"),
        (((2, True),), TypeError, "kernel_size must be an int or a pair of ints"),
    ],
)
def test_errors(engine, forward, sizes, error, message):
    with pytest.raises(error, match=f"{forward.__name__}: .*{message}"):
        forward(on_device(np.zeros((1, 1, 4, 3))), *sizes)
