"""Check gradients: of an op, of a model, and of a pair of functions of your own.

    python examples/gradient_check.py

It prints a table for each and draws the error against the step h. Replace `softmax` and its
backward below by your own functions; docs/gradients.md explains the tables and the picture.
"""

import argparse
from pathlib import Path

import numpy as np

import scratchvae as sv
from scratchvae.runs import tell


def softmax(x):
    """y, cache: y[n,i] = exp(x[n,i]) / sum over k of exp(x[n,k])."""
    e = np.exp(x - x.real.max(axis=1, keepdims=True))  # .real: x is complex in the complex step
    y = e / e.sum(axis=1, keepdims=True)
    return y, y


def softmax_backward(dy, y):
    """dx[n,i] = y[n,i] (dy[n,i] - sum over k of dy[n,k] y[n,k])."""
    return y * (dy - (dy * y).sum(axis=1, keepdims=True))


def wrong_backward(dy, y):
    """A common mistake: only the diagonal of the Jacobian."""
    return dy * y * (1 - y)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=Path("runs/gradients"), help="folder for pictures"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)

    tell("An op, element by element, by central differences\n")
    for report in sv.gradcheck.check_op("conv2d"):
        tell(f"{report}\n")

    tell("A model, every parameter tensor, by the complex step; the noise eps is fixed\n")
    model = sv.models.build("tiny", dtype="float64")
    x, eps = rng.random((2, *model.image_shape)), model.noise(2, rng)
    tell(f"{sv.gradcheck.check_model(model, x, eps)}\n")

    tell("Your own functions\n")
    x = rng.standard_normal((3, 5))
    for method in ("central", "complex"):
        tell(f"{sv.gradcheck.check(softmax, softmax_backward, x, method=method)}\n")

    tell("The same with a mistake\n")
    try:
        sv.gradcheck.check(softmax, wrong_backward, x)
    except sv.gradcheck.GradientError as error:
        tell(str(error))

    subject = sv.gradcheck.of_pair(softmax, softmax_backward, [x])
    picture = args.out / "softmax-step.png"
    sv.plots.errors_by_step("softmax", [sv.gradcheck.error_curve(subject, "x")], picture)
    tell(f"\n{picture}: the error of the differences against their step")


if __name__ == "__main__":
    main()
