"""Count the launches of a training step on the GPU: the nodes of its graph. Needs g++, but no GPU.

    python benchmarks/launches.py

Each model's step (Adam, no clipping) is captured with tests/on_host in place of CuPy. Its graphs
count their kernels, cuBLAS products and elementwise operations of CuPy (sums of two arrays, copies,
zeros). The counts do not depend on the batch.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from jobs import MODELS
from measure import Problem, parser, problems_in_one_line

import scratchvae as sv
from scratchvae.gpu.graph import GPUStepper

TESTS = Path(__file__).resolve().parents[1] / "tests"


def main() -> None:
    parser(__doc__).parse_args()
    cublas = stand_in()
    print(f"{'model':8}{'nodes':>6}{'kernels':>9}{'products':>10}{'CuPy':>6}")
    for name in MODELS:
        kernels, products, cupy = nodes(name, cublas)
        print(f"{name:8}{kernels + products + cupy:6}{kernels:9}{products:10}{cupy:6}", flush=True)


def stand_in() -> Any:
    """Make `import cupy` find the stand-in; return the module that counts products."""
    sys.path.insert(0, str(TESTS))
    if problem := import_module("on_host.build").problem():
        raise Problem(str(problem))
    sys.modules.update(import_module("on_host.stand_in").modules())
    cublas: Any = import_module("on_host.cublas")
    blas: Any = import_module("scratchvae.kernels.cuda.blas")
    blas._library = lambda: cublas
    sv.use("cuda")
    return cublas


def nodes(name: str, cublas: Any) -> tuple[int, int, int]:
    """The number of kernels of this repository, of cuBLAS products and of CuPy's own launches."""
    cupy: Any = import_module("cupy")
    function: Any = import_module("cupy._raw")._Function
    model = sv.models.build(name)
    stepper = GPUStepper(model, sv.optim.Adam(model))
    before = function.launches, cublas.products
    for _ in range(2):  # runs two steps, and captures one
        stepper.step(cupy.zeros((2, *model.image_shape), "float32"))
    kernels, products = (function.launches - before[0]) // 3, (cublas.products - before[1]) // 3
    ((_, graph, _),) = stepper._device.graphs.values()
    return kernels, products, len(graph._work) - kernels - products


if __name__ == "__main__":
    with problems_in_one_line():
        main()
