"""The process that cold_start.py times: `first_step.py MODEL START`, START in seconds since 1970.

Prints three times in milliseconds: from START to the end of the first training step, this step, and
the second one.
"""

import json
import sys
import time

import numpy as np
from jobs import BATCH, Job

import scratchvae as sv


def main() -> None:
    name, start = sys.argv[1], float(sys.argv[2])
    sv.use("numba")
    model = sv.models.build(name)
    kind, options = Job(name, 1).optimizer
    optimizer = getattr(sv.optim, kind)(model, **options)
    rng, batch = np.random.default_rng(0), BATCH.get(name, 128)
    x = rng.uniform(*model.data_range, (batch, *model.image_shape)).astype("float32")
    eps = model.noise(batch, rng)

    moments = [time.perf_counter()]
    sv.train.train_step(model, optimizer, x, eps)
    since_start = time.time() - start
    moments.append(time.perf_counter())
    sv.train.train_step(model, optimizer, x, eps)
    moments.append(time.perf_counter())
    print(json.dumps([1e3 * since_start, *(1e3 * np.diff(moments)).tolist()]))


if __name__ == "__main__":
    main()
