"""`scratchvae bench`: the time of training steps on each engine.

The engines run in turn for `ROUNDS` rounds, so that other load on the machine slows them equally. A
round begins with a pause, until the threads of the previous engine are idle, and an untimed step,
which warms the caches. A round ends when the GPU has finished its last step.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import numpy as np

from ..backend import ENGINES, to_device, using
from ..models import MODELS, build
from ..optim import Adam
from ..output import note, table
from ..runs.environment import machine_facts
from ..train import stepper_for
from .kernels import problems
from .options import SPECS, add_command, config_option, option, positive, show

ROUNDS = 7
REST = 0.1  # seconds; OpenBLAS's threads spin that long after a product
WARM_UP = 3  # steps: kernels compile in the first, a GPU's graph is captured in the second


def add(commands: Any) -> None:
    parser = add_command(
        commands, "bench", run, "time training steps on this machine",
        " (loss, gradients, Adam) with random images, on every available engine. Each time is the "
        "median of several rounds, in which the engines run in turn.",
        "scratchvae bench",
        "scratchvae bench conv celeba --batch-size 64 --seconds 5",
        "scratchvae bench --engine numba --dtype float64 --json",
    )  # fmt: skip
    option(parser, "models MODEL", tuple(MODELS), ", ".join(MODELS), "mlp", nargs="*")
    option(parser, "--engine", ENGINES, "time only this engine", shown="all available")
    option(parser, "--tf32", bool, SPECS["tf32"].metadata["help"])
    option(parser, "--batch-size N", positive(int), "images in a step", 128)
    config_option(parser, "dtype", "float32")
    length = parser.add_mutually_exclusive_group()
    option(length, "--steps N", positive(int), "steps per model and engine")
    option(length, "--seconds S", positive(float), "seconds per model and engine", 2)


def run(args: argparse.Namespace) -> int:
    found = {args.engine: None} if args.engine else problems()
    for engine, problem in found.items():
        if problem:
            note(f"skipping {engine}: {problem}")
    engines = [engine for engine, problem in found.items() if not problem]
    facts = machine_facts()
    if not args.json:
        print(", ".join(f"{name} {fact}" for name, fact in facts.items() if fact is not None))
        print(f"batch {args.batch_size}, {args.dtype}\n", flush=True)
    results = []
    # The default is no list, because argparse looks it up among the choices.
    for model in ["mlp"] if args.models == "mlp" else args.models:
        note(f"timing {model} on {', '.join(engines)} ...")
        results += measure(model, engines, args)
    rows = [["model", "engine", "ms/step", "images/s", "speedup over numpy"]]
    for model, engine, _, milliseconds, images, speedup in map(dict.values, results):
        ratio = "-" if speedup is None else f"{speedup:.2f}"
        rows.append([model, engine, f"{milliseconds:.2f}", f"{images:,.0f}", ratio])
    asked = {name: getattr(args, name) for name in ("batch_size", "dtype", "tf32")}
    show(args, {"machine": facts, **asked, "results": results}, table(rows))
    return 0


def measure(name: str, engines: list[str], args: argparse.Namespace) -> list[dict[str, Any]]:
    """The median round of a model on each engine; `speedup` is relative to the engine numpy."""
    steppers, counts = {}, {}
    rounds = min(ROUNDS, args.steps or ROUNDS)
    for engine in engines:
        with using(engine, tf32=args.tf32):
            steppers[engine] = make_stepper(name, engine, args.batch_size, args.dtype)
            seconds(*steppers[engine], WARM_UP)
            step = seconds(*steppers[engine], 1)
        counts[engine] = math.ceil((args.steps or args.seconds / step) / rounds)
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for _ in range(rounds):
        for engine in engines:
            with using(engine, tf32=args.tf32):
                time.sleep(REST)
                seconds(*steppers[engine], 1)
                times[engine].append(seconds(*steppers[engine], counts[engine]) / counts[engine])
    medians = {engine: float(np.median(times[engine])) for engine in engines}
    return [
        {
            "model": name,
            "engine": engine,
            "steps": rounds * counts[engine],
            "ms_per_step": 1e3 * median,
            "images_per_second": args.batch_size / median,
            "speedup": medians["numpy"] / median if "numpy" in medians else None,
        }
        for engine, median in medians.items()
    ]


def make_stepper(name: str, engine: str, batch_size: int, dtype: str) -> tuple[Any, Any]:
    """A stepper for a new model, and a batch of random images on the model's device."""
    model, rng = build(name, dtype=dtype), np.random.default_rng(0)
    if engine == "cuda":
        model.to("cuda")
    x = rng.uniform(*model.data_range, (batch_size, *model.image_shape)).astype(dtype)
    stepper = stepper_for(model, Adam(model))
    stepper.start_epoch(rng)
    return stepper, to_device(x, model.device)


def seconds(stepper: Any, x: Any, count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        stepper.step(x)
    _ = stepper.sums  # waits for the GPU
    return time.perf_counter() - start
