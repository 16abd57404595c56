"""The golden values on disk, and how far other values are from them.

A file holds arrays under "case/what", as in "conv2d: odd sizes/dw".
"""

from collections import defaultdict
from pathlib import Path

import numpy as np
from golden.cases import numbers
from safetensors import safe_open
from safetensors.numpy import save_file

FOLDER = Path(__file__).parent
COMMAND = "python tests/golden/make.py"
# Of float64, relative to the largest element of each array. A model is a long chain of ops.
TOLERANCE = {"ops": 1e-12, "models": 1e-10, "optimizers": 1e-12}
# A gradient below this, relative to the largest gradient of its model, is only rounding: those of
# biases before a batch norm, which subtracts them again.
NEGLIGIBLE = 1e-12


def path(group, folder=FOLDER):
    return folder / f"{group}.safetensors"


def write(group, cases, metadata):
    """Write case -> what -> array."""
    arrays = {f"{case}/{what}": a for case, results in cases.items() for what, a in results.items()}
    save_file(arrays, path(group), metadata)


def read(group, folder=FOLDER):
    """case -> what -> array, and the metadata."""
    file = path(group, folder)
    if not file.exists():
        raise FileNotFoundError(
            f"no golden values at {file}: the repository has them (git checkout tests/golden), and "
            f"on a machine with PyTorch {COMMAND} computes them"
        )
    cases = defaultdict(dict)
    with safe_open(file, "numpy") as stored:
        for key in stored.keys():  # noqa: SIM118  (it is no dict)
            case, what = key.split("/")
            cases[case][what] = stored.get_tensor(key)
        return dict(cases), stored.metadata()


def summary(what, array):
    """A few numbers that depend on every element of an array too large to store: its norm and its
    inner products with two directions; also its largest element and six others."""
    flat = np.asarray(array, "float64").ravel()
    directions = [numbers(f"{what}, direction {i}", flat.shape) for i in (1, 2)]
    places = numbers(f"{what}, places", (6,), 0, flat.size).astype(int)
    sums = [np.sqrt((flat * flat).sum()), *((flat * direction).sum() for direction in directions)]
    return {
        f"{what}, sums": np.array(sums),
        f"{what}, elements": np.array([np.abs(flat).max(), *flat[places]]),
    }


def model_results(losses, gradients, buffers):
    """The stored values of a model: all arrays, or summaries of large ones."""
    results = {"losses": np.array(losses)}
    for name, gradient in gradients.items():
        results |= summary(f"gradient of {name}", gradient)
    for name, buffer in buffers.items():
        results |= summary(f"{name} afterwards", buffer)
    return results


def errors(expected, got):
    """what -> the largest difference, relative to the largest element expected; never NaN."""
    sizes = {what: np.abs(a).max() for what, a in expected.items()}
    gradients = [size for what, size in sizes.items() if what.startswith("gradient of")]
    negligible = NEGLIGIBLE * max(gradients, default=0.0)
    found = {}
    for what, a in expected.items():
        if a.shape != got[what].shape or not np.isfinite(got[what]).all():
            found[what] = np.inf
            continue
        difference = np.abs(a - got[what]).max()
        rounding = sizes[what] <= negligible and difference <= negligible
        if difference == 0 or (what.startswith("gradient of") and rounding):
            found[what] = 0.0
        else:
            found[what] = difference / sizes[what] if sizes[what] else np.inf
    return found
