"""Interrupt ops at random instants: `python interrupts.py raising|computing COUNT SEED LIMIT`.

The main thread computes one op after another, and so does a second thread. Meanwhile COUNT signals
arrive. Their handler raises KeyboardInterrupt, or computes ops itself. Prints the result as JSON;
after LIMIT seconds, prints the function that hangs.
"""

import faulthandler
import gc
import json
import os
import random
import signal
import sys
import threading
import time

import numpy as np

import scratchvae as sv
from scratchvae import ops
from scratchvae.kernels.cpu.runtime import threads
from scratchvae.kernels.cpu.runtime.threads import blas_threads
from scratchvae.optim import adam_step


def jobs():
    """Name -> function without arguments that computes the same arrays every time."""
    rng = np.random.default_rng(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype("float32")

    x, w, b = normal(16, 16, 14, 14), normal(32, 16, 3, 3), normal(32)
    rows, matrix, bias = normal(128, 300), normal(200, 300), normal(200)
    channels = np.ones(16, "float32")
    value, grad = normal(200_000), normal(200_000)

    def forward_backward(op, *arguments):
        forward, backward = (getattr(ops, f"{op}_{way}") for way in ("forward", "backward"))

        def job():
            y, cache, *_ = forward(*arguments)
            gradients = backward(y, cache)
            return y, *(gradients if isinstance(gradients, tuple) else (gradients,))

        return job

    def mse():
        y, cache = ops.mse_forward(rows, rows[::-1].copy(), "sum")
        return np.asarray(y), ops.mse_backward(np.ones_like(y), cache)

    def adam():
        """In place: the values after an interrupt must not change any more."""
        arrays = value.copy(), np.zeros_like(value), np.zeros_like(value)
        try:
            adam_step(arrays[0], grad, *arrays[1:], 1, 1e-3, 0.9, 0.999, 1e-8, 0.0, False)
        except KeyboardInterrupt:
            left = [a.copy() for a in arrays]
            time.sleep(0.002)
            report["written after the interrupt"] += not all(map(np.array_equal, arrays, left))
            raise
        return arrays

    return {
        "conv2d": forward_backward("conv2d", x, w, b, 1, 1),
        "conv2d, stride 2": forward_backward("conv2d", x, w, b, 2, 1),
        "conv_transpose2d": forward_backward(
            "conv_transpose2d", x, w.transpose(1, 0, 2, 3).copy(), b, 2, 1
        ),
        "linear": forward_backward("linear", rows, matrix, bias),
        "batch_norm": forward_backward(
            "batch_norm", x, channels, channels, channels, channels, True
        ),
        "max_pool2d": forward_backward("max_pool2d", x, 2),
        "avg_pool2d": forward_backward("avg_pool2d", x, 2),
        "relu": forward_backward("relu", x),
        "mse": mse,
        "adam": adam,
    }


def bits(arrays):
    return [np.asarray(a).tobytes() for a in arrays if a is not None]


def compute(rng):
    """Compute ops in random order until the end, and compare each result with the right one."""
    names = [*JOBS]
    while not over:
        name = rng.choice(names)
        if bits(JOBS[name]()) != EXPECTED[name]:
            report["wrong"].append(name)
        report["jobs"] += 1


def raising(number, frame):
    handled.append(number)
    raise KeyboardInterrupt


def computing(number, frame):
    for name in random.sample(["conv2d", "linear", "batch_norm", "max_pool2d"], 2):
        if bits(JOBS[name]()) != EXPECTED[name]:
            report["wrong"].append(f"{name}, in the handler")
    handled.append(number)


def send(count, rng, main):
    """Send signals, each a random time after the previous one has been handled."""
    for k in range(count):
        while not ready:
            time.sleep(0.0001)
        ready.clear()
        time.sleep(rng.random() * 0.004)
        signal.pthread_kill(main, signal.SIGINT)
        while len(handled) <= k:
            time.sleep(0.0001)
        if not raises:
            ready.append(True)
    over.append(True)


def be_interrupted(rng):
    while not over:
        try:
            ready.append(True)
            compute(rng)
        except KeyboardInterrupt:
            report["caught"] += 1


def state():
    gc.collect()
    return {
        "BLAS's threads": blas_threads(),
        "threads": len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0,
        "cores": sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [],
    }


if __name__ == "__main__":
    raises, count, seed = sys.argv[1] == "raising", int(sys.argv[2]), int(sys.argv[3])
    faulthandler.dump_traceback_later(float(sys.argv[4]), exit=True)
    threads.cores = lambda: 2  # also on a machine with one
    sys.setswitchinterval(1e-4)  # three threads switch more often
    sv.use("numba")
    report = {"jobs": 0, "caught": 0, "wrong": [], "written after the interrupt": 0}
    handled, ready, over = [], [], []
    JOBS = jobs()
    EXPECTED = {name: bits(job()) for name, job in JOBS.items()}
    before = state()

    signal.signal(signal.SIGINT, raising if raises else computing)
    main = threading.get_ident()
    others = [
        threading.Thread(target=compute, args=(random.Random(seed),)),
        threading.Thread(target=send, args=(count, random.Random(seed + 1), main)),
    ]
    for thread in others:
        thread.start()
    be_interrupted(random.Random(seed + 2))
    for thread in others:
        thread.join()
    print(json.dumps(report | {"handled": len(handled), "before": before, "after": state()}))
