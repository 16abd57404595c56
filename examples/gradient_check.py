"""Check gradients: of an op, of a model, and of your own functions
=====================================================================

Each check gives a table, and a picture shows the error against the step h. Replace `softmax` and
its backward below by your own functions; docs/gradients.md explains the tables and the picture.

.. code-block:: bash

    python examples/gradient_check.py
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import scratchvae as sv
from scratchvae.runs import tell

# %%
# The options. A notebook has no command line: write them between the brackets, as in
# `["--out", "gradients"]`.
arguments = [] if "kernel_launcher" in sys.argv[0] else sys.argv[1:]
parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--out", type=Path, default=Path("runs/gradients"), help="folder for pictures")
out = parser.parse_args(arguments).out
out.mkdir(parents=True, exist_ok=True)
rng = np.random.default_rng(0)

# %%
# An op, element by element, by central differences.
for report in sv.gradcheck.check_op("conv2d"):
    tell(report)
    tell("")

# %%
# A model, every parameter tensor, by the complex step; the noise eps is fixed.
model = sv.models.build("tiny", dtype="float64")
x, eps = rng.random((2, *model.image_shape)), model.noise(2, rng)
tell(sv.gradcheck.check_model(model, x, eps))


# %%
# Your own functions, by two methods.
def softmax(x):
    """y, cache: y[n,i] = exp(x[n,i]) / sum over k of exp(x[n,k])."""
    e = np.exp(x - x.real.max(axis=1, keepdims=True))  # .real: x is complex in the complex step
    y = e / e.sum(axis=1, keepdims=True)
    return y, y


def softmax_backward(dy, y):
    """dx[n,i] = y[n,i] (dy[n,i] - sum over k of dy[n,k] y[n,k])."""
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


x = rng.standard_normal((3, 5))
for method in ("central", "complex"):
    tell("")
    tell(sv.gradcheck.check(softmax, softmax_backward, x, method=method))


# %%
# The same with a mistake: the error names the tensor and the element.
def wrong_backward(dy, y):
    """A common mistake: only the diagonal of the Jacobian."""
    return dy * y * (1 - y)


try:
    sv.gradcheck.check(softmax, wrong_backward, x)
except sv.gradcheck.GradientError as error:
    tell("")
    tell(error)

# %%
# The error of the differences against their step: rounding on the left, curvature on the right.
subject = sv.gradcheck.of_pair(softmax, softmax_backward, [x])
picture = out / "softmax-step.png"
sv.plots.errors_by_step("softmax", [sv.gradcheck.error_curve(subject, "x")], picture)
tell(f"\n{picture}: the error of the differences against their step")

# %%
# A notebook shows the picture:
sv.plots.Pictures(out)
