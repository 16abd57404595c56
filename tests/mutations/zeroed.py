"""`python tests/mutations/zeroed.py [NAME ...]`: does any gradient test pass with dx = 0?

Each gradient of every op, and of every layer with parameters, is set to zero in turn, on all
engines at once. Kernel and reference still agree, so the gradient check itself must fail, on every
engine. Prints the tests that pass all the same, by gradient; exit status 1 if there are any.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1])]

from running import run_tests  # noqa: E402

from scratchvae import backend, ops  # noqa: E402
from scratchvae.ops import CASES as OPS  # noqa: E402

ENGINES = ("numpy", "numba")
GRADIENTS = {
    op: [f"d{name}" for name in cases[0].shapes if name not in cases[0].constants]
    for op, cases in OPS.items()
}
LAYERS = {
    "Linear": "linear",
    "Conv2d": "conv2d",
    "ConvTranspose2d": "conv_transpose2d",
    "BatchNorm2d": "batch_norm",
    "BatchNorm2dLeakyReLU": "batch_norm_leaky_relu",
}
ACTIVATIONS = ("relu", "leaky_relu", "sigmoid", "tanh")
LOSSES = ("reparameterize", "bce", "mse", "kl", "elbo")


class Zeroed(NamedTuple):
    op: str
    position: int  # among the results of the op's backward
    tests: list[str]  # node ids, each of which must fail


def _tests(op):
    if op in ACTIVATIONS:
        test = "tests/ops/test_activations.py::test_activation[{engine}-{op}]"
    elif op in LOSSES:
        test = "tests/ops/test_losses.py::test_{op}[{engine}]"
    else:
        test = "tests/ops/test_{op}.py::test_{op}[{engine}]"
    return [test.format(op=op, engine=engine) for engine in ENGINES]


def _cases():
    for op in OPS:
        for position, gradient in enumerate(GRADIENTS[op]):
            yield f"{op}-{gradient}", Zeroed(op, position, _tests(op))
    for layer, op in LAYERS.items():
        test = f"tests/test_layers.py::test_gradients[{{}}-{layer}]"
        for position, gradient in enumerate(GRADIENTS[op]):
            yield f"{layer}-{gradient}", Zeroed(op, position, [*map(test.format, ENGINES)])


CASES = dict(_cases())


def zero(case):
    """The op's backward, on every engine, with this gradient set to zero."""
    name = f"{case.op}_backward"
    find, body = backend.find_kernel, getattr(ops, name).reference

    def find_zeroed(engine, op, function):
        found = find(engine, op, function)
        if function != name:
            return found

        def backward(*args, **kwargs):
            results = (found or body)(*args, **kwargs)
            if not isinstance(results, tuple):
                return 0 * results
            return tuple(
                0 * g if k == case.position and g is not None else g for k, g in enumerate(results)
            )

        return backward

    return patch.object(backend, "find_kernel", find_zeroed)


def main(names):
    cases = {name: CASES[name] for name in names or CASES}
    tests = dict.fromkeys(test for case in cases.values() for test in case.tests)
    run = run_tests(*tests, profile="zeroed")
    if run.trouble or run.failed:
        return f"with nothing zeroed: {run.failed} {run.trouble}"
    passing = {}
    for name, case in cases.items():
        with zero(case):
            run = run_tests(*case.tests, stop_at_first_failure=False, profile="zeroed")
        left = sorted(set(case.tests) - set(run.failed))
        left += [file for file in run.files if "gradcheck" not in file]  # another check failed
        passing[name] = run.trouble or " ".join(left)
    print(json.dumps(passing, indent=1))
    return int(any(passing.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
