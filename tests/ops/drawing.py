"""What several files of this folder draw. (harness.py must not import Hypothesis before pytest.)"""

from hypothesis import assume
from hypothesis import strategies as st


@st.composite
def windows(draw, sides=(1, 6), paddings=(0, 1)):
    """size, kernel_size, stride, padding of windows that fit into the padded image."""
    limits = sides, (1, 3), (1, 3), paddings
    size, kernel, stride, padding = draw(
        st.tuples(*(st.tuples(*[st.integers(*limit)] * 2) for limit in limits))
    )
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, kernel, strict=True)))
    return size, kernel, stride, padding
