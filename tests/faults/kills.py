"""kill -9: half of the kills at random times, half at chosen instants of writing to the folder."""

import os
import random
import signal
import time
from functools import partial

from bench import check_what_is_there
from forks import has_ended
from instants import die, instants, kind


def faults(benches, count, seed):
    """`count` faults; every third run is killed several times."""
    draw = random.Random(seed)
    chosen = chosen_instants(benches, count // 2, draw)
    for number in range(count):
        again = draw.randrange(2**32) if number % 3 == 2 else None
        if number < len(chosen):
            name, at = chosen[number]
            what = f"kill -9 {benches[name].instants[at - 1]}"
            yield what, partial(killed_at, name, at, again)
        else:
            name, when = draw.choice([*benches]), draw.random()
            yield (
                f"kill -9 at a random time ({when:.0%} of the run)",
                partial(killed_when, name, when, again),
            )


def chosen_instants(benches, count, draw):
    """(bench, number) of instants: first one of each kind, in random order, then more."""
    kinds = {}
    for name, bench in benches.items():
        for number, instant in enumerate(bench.instants, 1):
            kinds.setdefault(kind(instant), []).append((name, number))
    chosen = []
    while len(chosen) < count:
        for one in draw.sample([*kinds.values()], len(kinds)):
            chosen.append(draw.choice(one))
    return chosen[:count]


def killed_at(name, at, again, benches):
    """A run killed at this instant, counted from the start."""
    bench = benches[name]
    run = bench.new_run()
    return survived(bench, run, bench.train(run, at=at, act=die), again)


def killed_when(name, when, again, benches):
    """A run killed after this fraction of the time of a whole run."""
    bench = benches[name]
    while True:
        run = bench.new_run()
        seconds = when * bench.seconds
        ended = bench.train(run, meanwhile=lambda child, s=seconds: kill_after(s, child))
        if ended.status:
            return survived(bench, run, ended, again)
        when *= 0.7  # it was faster than the undisturbed one


def kill_after(seconds, child):
    """Send SIGKILL to the child, unless it ends before."""
    deadline = time.monotonic() + seconds
    while not has_ended(child) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)


def survived(bench, run, ended, again):
    """Check that the files are complete, and that the resumed run ends in the same way."""
    assert ended.status == 128 + signal.SIGKILL, f"{ended.status}: {ended.err}"
    times, draw = 1, random.Random(again)
    after = check_what_is_there(run)
    names = instants(run)
    while again is not None and times < 4 and draw.random() < 0.7:
        rest = len(bench.instants) - len(names) if times == 1 else len(instants(run))
        ended = bench.go_on(run, at=draw.randrange(1, max(rest, 0) + 30), act=die)
        if ended.status == 0:
            break
        assert ended.status == 128 + signal.SIGKILL, f"{ended.status}: {ended.err}"
        times += 1
        now = check_what_is_there(run)
        assert now >= after, f"step {after} was saved, but after another kill only {now}"
        after = now
    steps = names.count("after step")
    happened = f"{bench.model}, {bench.engine}: died after step {steps}"
    happened += f", killed {times} times" if times > 1 else ""
    return happened, bench.finish(run)
