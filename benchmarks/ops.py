"""Time the ops that have a kernel: reference body and Numba kernel, side by side in one run.

    python benchmarks/ops.py [OP ...]

Forward and backward each alternate between the two; medians in milliseconds, the last column is
numba / reference. Sizes are those of the `conv` model at batch 128. Run it on a quiet machine.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

import scratchvae as sv
from scratchvae import ops
from scratchvae.optim import adam_step

REPEATS = 15


def arrays(*shapes: tuple[int, ...]) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.standard_normal(shape, "float32") for shape in shapes]


# case: op, shapes of its arrays, its other arguments
CASES: dict[str, tuple[str, list[tuple[int, ...]], tuple[Any, ...]]] = {
    "conv2d 1->32": ("conv2d", [(128, 1, 28, 28), (32, 1, 4, 4), (32,)], (2, 1)),
    "conv2d 32->64": ("conv2d", [(128, 32, 14, 14), (64, 32, 4, 4), (64,)], (2, 1)),
    "conv_transpose2d 64->32": (
        "conv_transpose2d",
        [(128, 64, 7, 7), (64, 32, 4, 4), (32,)],
        (2, 1),
    ),
    "conv_transpose2d 32->1": (
        "conv_transpose2d",
        [(128, 32, 14, 14), (32, 1, 4, 4), (1,)],
        (2, 1),
    ),
    "relu": ("relu", [(128, 32, 14, 14)], ()),
    "max_pool2d 2x2": ("max_pool2d", [(128, 32, 28, 28)], (2,)),
}


def passes(op: str, shapes: list[tuple[int, ...]], options: tuple[Any, ...]) -> dict[str, Any]:
    """Two callables for `alternate`: the op's forward and its backward on the engine in use."""
    given = arrays(*shapes)
    forward, backward = getattr(ops, f"{op}_forward"), getattr(ops, f"{op}_backward")
    y, cache, *_ = forward(*given, *options)
    return {
        "forward": lambda: forward(*given, *options),
        "backward": lambda: backward(y, cache),
    }


def adam() -> dict[str, Any]:
    """Adam's step on as many parameters as `conv` has."""
    value, grad, m, v = arrays(*[(1_691_369,)] * 4)
    return {"step": lambda: adam_step(value, grad, m, v**2, 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)}


def alternate(first: Callable[[], Any], second: Callable[[], Any]) -> tuple[float, float]:
    """Median milliseconds of both, measured in turns after one warm-up each."""
    times: tuple[list[float], list[float]] = ([], [])
    for repeat in range(REPEATS + 1):
        for run, record in zip((first, second), times, strict=True):
            start = time.perf_counter()
            run()
            if repeat:
                record.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[0]), statistics.median(times[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ops", nargs="*", help="only these (default: all)")
    wanted = parser.parse_args().ops
    known = {name.split()[0] for name in CASES} | {"adam"}
    if unknown := sorted(set(wanted) - known):
        parser.error(f"no case for {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    print(machine())
    print(f"{'case':26} {'pass':9} {'reference':>10} {'numba':>8} {'ratio':>6}")
    for name in [*CASES, "adam"]:
        op = name.split()[0]
        if wanted and op not in wanted:
            continue
        runs = {}
        for engine in ("numpy", "numba"):
            with sv.using(engine):
                runs[engine] = adam() if op == "adam" else passes(*CASES[name])
        for part in runs["numpy"]:
            reference, kernel = alternate(
                within("numpy", runs["numpy"][part]), within("numba", runs["numba"][part])
            )
            ratio = kernel / reference
            print(f"{name:26} {part:9} {reference:10.2f} {kernel:8.2f} {ratio:6.2f}")


def within(engine: str, run: Callable[[], Any]) -> Callable[[], Any]:
    """`run`, on this engine."""

    def timed() -> None:
        with sv.using(engine):
            run()

    return timed


def machine() -> str:
    """What the numbers depend on."""
    versions = (
        f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}"
    )
    try:
        from threadpoolctl import threadpool_info
    except ImportError:
        return f"{versions}; pip install threadpoolctl to see which BLAS"
    blas = [i for i in threadpool_info() if i["user_api"] == "blas"]
    cores = ", ".join(f"{i['internal_api']} {i['architecture']} x{i['num_threads']}" for i in blas)
    return f"{versions}, {cores}"


if __name__ == "__main__":
    main()
