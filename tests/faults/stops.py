"""SIGINT and SIGTERM: the step ends, everything is saved, one line says how to resume."""

import os
import random
import signal
from functools import partial

from bench import leftovers
from instants import instants
from kills import check_what_is_there

PLACES = {
    "in a training step": "before step",
    "in the evaluation after an epoch": "before eval",
    "while half a checkpoint is written": "half of checkpoints/step-000000020",
    "while pictures are drawn": "half of pictures",
    "while best.safetensors is written": "half of checkpoints/best",
    "while the results are written": "half of metrics.json",
}


def faults(benches, kills, seed):
    """Each signal at each kind of instant, then at random ones; two SIGINTs; before the start."""
    for number in (signal.SIGINT, signal.SIGTERM):
        for where, at in PLACES.items():
            yield f"{number.name} {where}", partial(stop, number, at)
        draw = random.Random(f"{seed} {number}")
        first = benches["tiny-numpy"].instants.index("after step")
        for at in sorted(draw.sample(range(first, len(benches["tiny-numpy"].instants)), 3)):
            yield (
                f"{number.name} {benches['tiny-numpy'].instants[at - 1]}",
                partial(stop, number, at),
            )
        yield f"{number.name} before the training, as the data are loaded", partial(early, number)
    yield "SIGINT twice in a step", partial(twice, "before step")
    yield (
        "SIGINT twice while half a checkpoint is written",
        partial(twice, "half of checkpoints/step-000000020"),
    )


def stop(number, at, benches):
    """A run that gets one signal."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    ended = bench.train(run, at=at, act=lambda: signal.raise_signal(number))
    assert ended.status == 128 + number, ended
    assert "everything is saved; to continue: scratchvae train --resume" in ended.told, ended
    assert not leftovers(run), leftovers(run)
    step, done = check_what_is_there(run), instants(run).count("after step")
    assert step == done, f"stopped after step {done}, but step {step} is saved"
    return f"exit status {ended.status}, one line, saved", bench.finish(run)


def twice(at, benches):
    """A second SIGINT ends the run at once."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()

    def interrupt():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    ended = bench.train(run, at=at, act=interrupt)
    assert ended.status == 130 and ended.told == "scratchvae train: interrupted", ended
    assert not leftovers(run), leftovers(run)
    check_what_is_there(run)
    return "exit status 130, one line, at once", bench.finish(run)


def early(number, benches):
    """A signal before training has begun: no traceback, no folder."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    at = "before load the data"
    ended = bench.train(run, at=at, act=lambda: signal.raise_signal(number))
    assert ended.status == 128 + number and "Traceback" not in ended.err, ended
    assert not run.exists()
    return f"exit status {ended.status}, no traceback, no folder", bench.finish(run)
