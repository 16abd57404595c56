"""Damaged files must be detected and reported, and never loaded."""

import signal
from functools import partial

from bench import contents, leftovers, terminate

from scratchvae.runs import RunFolder, open_run
from scratchvae.runs.checkpoint import read_checkpoint, to_bytes

KINDS = {
    "cut in half": lambda content: content[: len(content) // 2],
    "one bit flipped in the tensors": lambda content: flip(content, len(content) - 1000),
    "one bit flipped in the header": lambda content: flip(content, 100),
    "its last bytes zero": lambda content: content[: -len(content) // 3] + bytes(len(content) // 3),
    "empty": lambda content: b"",
}


def flip(content, at):
    """The content with the lowest bit of this byte flipped."""
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def faults(benches, kills, seed):
    """Faults in checkpoints, in the best one, and in config.json."""
    for kind in KINDS:
        yield f"the last checkpoint {kind}", partial(last_damaged, kind)
    yield "all checkpoints damaged", all_damaged
    yield "best.safetensors damaged", best_damaged
    yield "config.json damaged", config_damaged
    yield "the last checkpoint damaged, and --keep 1", last_damaged_and_one_kept


def last_damaged(kind, benches):
    """The checkpoint before it is loaded."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    last, before = RunFolder(run).all_checkpoints()
    last.write_bytes(KINDS[kind](last.read_bytes()))
    aside = f"checkpoints/{last.name}.damaged"
    ended = bench.resume(run)
    told = [line for line in ended.err.splitlines() if "damaged checkpoint, renamed" in line]
    assert len(told) == 1 and last.name in told[0], ended
    assert f"after step {int(before.stem[5:])}\n" in ended.out, ended.out
    return f"told: {told[0].split(': ')[-1]}", bench.finish(run, aside=[aside])


def all_damaged(benches):
    """The run starts from the beginning and reports it."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    for path in RunFolder(run).all_checkpoints():
        path.write_bytes(path.read_bytes()[:-100])
    aside = [f"checkpoints/{path.name}.damaged" for path in RunFolder(run).all_checkpoints()]
    ended = bench.resume(run)
    assert "no checkpoint is sound: starting from the beginning" in ended.err, ended
    return "told: no checkpoint is sound: starting from the beginning", bench.finish(
        run, aside=aside
    )


def best_damaged(benches):
    """An error: other weights must not be loaded instead. The last weights can be opened."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    folder = RunFolder(run)
    last = folder.all_checkpoints()[0]
    arrays, progress = read_checkpoint(last)
    last.write_bytes(to_bytes(arrays, progress | {"best_score": -1.0}))  # no later epoch is better
    folder.best.write_bytes(flip(folder.best.read_bytes(), 100_000))
    ended = bench.resume(run)
    assert ended.status == 2 and "are lost; those of the last epoch are in" in ended.told, ended
    opened = open_run(run, "numpy").weights
    assert opened == folder.all_checkpoints()[0], opened
    return "one line: the weights of the best epoch are lost", f"{opened.name} can be opened"


def config_damaged(benches):
    """One line on stderr; no file changes."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    config, before = run / "config.json", contents(run)
    sound = config.read_bytes()
    for content in (sound[:100], b"", flip(sound, 20), sound.replace(b'"tiny"', b'"huge"')):
        config.write_bytes(content)
        ended = bench.resume(run)
        assert ended.status == 2 and "config.json" in ended.told, ended
    config.write_bytes(sound)
    assert contents(run) == before
    return "one line, four times", bench.finish(run)


def last_damaged_and_one_kept(benches):
    """The damaged checkpoint, the last by name, must not cause the next one to be deleted."""
    bench = benches["tiny-numpy"]
    run = bench.stopped(options=["--keep", "1"])
    (last,) = RunFolder(run).all_checkpoints()
    last.write_bytes(b"")
    ended = bench.resume(run, at=60, act=terminate)
    assert ended.status == 128 + signal.SIGTERM, ended
    (saved,) = RunFolder(run).all_checkpoints()
    assert saved.name < last.name, f"{saved.name} was kept, which is the damaged one"
    assert not leftovers(run)
    return "from the beginning, stopped before that step", f"{saved.name}, just saved, is kept"
