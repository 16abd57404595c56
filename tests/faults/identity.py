"""Mix-ups: files of another run, edited options, changed data, moved folders, links, copies. Every
one must be refused with a sentence, before anything is changed, and never give other numbers."""

import contextlib
import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
from bench import contents, without_identity, write_data
from damage import flip
from forks import scratchvae
from safetensors.numpy import load_file

from scratchvae.models.weights import to_bytes
from scratchvae.runs import RunFolder

FILES = {  # of another run: the file, what reads it, what is said
    "last checkpoint": ("belongs to another run", ["train", "--resume"]),
    "best checkpoint": ("belongs to another run", ["train", "--resume"]),
    "weights.safetensors": ("belongs to another run", ["evaluate"]),
    "weights.safetensors, resumed": ("belongs to another run", ["train", "--resume"]),
    "weights.safetensors, sampled": ("belongs to another run", ["sample"]),
    "config.json": ("belongs to another run", ["evaluate"]),
}
EDITS = {"seed": 1, "lr": 0.009, "batch_size": 8, "epochs": 9, "keep": 1, "binarize": False}
LINKS = ("checkpoints", "pictures", "lock", "config.json", "checkpoints/best.safetensors")


def faults(benches, kills, seed):
    """Each kind of mix-up."""
    for name in FILES:
        yield f"another run's {name}", partial(another_runs, name)
    for name, value in EDITS.items():
        yield f"{name} edited in config.json", partial(edited, name, value)
    for name in ("config.json", "weights.safetensors"):
        yield f"one bit flipped anywhere in {name}", partial(bits, name, seed)
    yield "4 KiB of zeros in weights.safetensors", zeroed
    yield "NaN in weights.safetensors, with a right digest", not_a_number
    yield "other data before evaluate, --resume and --config", other_data
    yield "the run moved while it trains, another one in its place", moved
    yield "the lock deleted while a run trains, and the run resumed", lock_deleted
    for name in LINKS:
        yield f"{name} is a link", partial(link, name)
    yield "a file of the user's called lock", users_lock
    yield "copies beside the checkpoints, --keep 2", copies
    yield "a finished run taken up again diverges, --keep 1", diverges
    yield "best.safetensors damaged before evaluate", best_damaged_before_evaluate
    yield "best.safetensors lost before --resume", best_lost
    yield "pictures cannot be drawn", no_pictures
    yield "a file system without locks", no_locks
    yield "two processes with equal numbers write one file", equal_numbers
    yield "SIGHUP in a training step", hangup
    yield "SIGHUP, ignored by nohup", nohup


def whole(run):
    """Every byte of a run; a refusal must not change one."""
    return {p: p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file() and p.name != "lock"}


def refused(run, said, *command):
    """Check that the command is refused with one line, also with --json, and changes no file."""
    before = whole(run)
    for quiet in ([], ["--json"]):
        ended = scratchvae(*command, *quiet)
        assert ended.status == 2 and said in ended.told, ended
        assert not (quiet and ended.out), ended
    assert whole(run) == before, f"changed: {[p for p in before if before[p] != whole(run).get(p)]}"
    return ended.told


def another_runs(name, benches):
    """The same model and options, another seed: only the identity tells them apart."""
    said, command = FILES[name]
    bench = benches["tiny-numpy"]
    if "checkpoint" in name:
        mine, theirs = bench.stopped(), bench.stopped(options=["--seed", "1"])
    else:
        mine, theirs = bench.finished(), bench.finished("--seed", "1")
    path = {
        "last checkpoint": lambda run: RunFolder(run).all_checkpoints()[0],
        "best checkpoint": lambda run: RunFolder(run).best,
        "config.json": lambda run: run / "config.json",
    }.get(name, lambda run: run / "weights.safetensors")
    own, name = path(mine).read_bytes(), path(mine).name
    path(mine).write_bytes(path(theirs).read_bytes())
    refused(mine, said, *command, mine)
    path(mine).write_bytes(own)
    return f"refused: {said}", bench.finish(mine)


def edited(name, value, benches):
    """Not one command goes on with it."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    config, sound = run / "config.json", (run / "config.json").read_bytes()
    content = json.loads(sound)
    assert content["options"][name] != value
    content["options"][name] = value
    config.write_text(json.dumps(content))
    said = "its content is not what the run wrote"
    for command in (["train", "--resume", run], ["evaluate", run], ["sample", run]):
        refused(run, said, *command)
    refused(run, said, "train", "--config", config, "--out", bench.new_run())
    config.write_bytes(sound)
    return "refused: resume, evaluate, sample, --config", bench.finish(run)


def bits(name, seed, benches):
    """The number of `evaluate` must be the same, or there is none."""
    bench, draw, accepted = benches["tiny-numpy"], random.Random(seed), 0
    run = bench.finished()
    path, sound = run / name, (run / name).read_bytes()
    command = ["evaluate", run, "--engine", "numpy", "--json"]
    right = scratchvae(*command)
    assert right.status == 0, right
    # In the header or the text every byte matters in its own way.
    places = [draw.randrange(min(len(sound), 3000)) for _ in range(60)]
    places += [draw.randrange(len(sound)) for _ in range(20)]
    for place in places:
        path.write_bytes(
            sound[:place] + bytes([sound[place] ^ 1 << draw.randrange(8)]) + sound[place + 1 :]
        )
        ended = scratchvae(*command)
        if ended.status == 0:
            assert ended.out == right.out, f"byte {place}: {ended.out}"
            accepted += 1
        else:
            assert ended.status == 2 and name in ended.told, ended
    path.write_bytes(sound)
    return f"{len(places) - accepted} of {len(places)} refused, the others change no number", "-"


def zeroed(benches):
    bench = benches["tiny-numpy"]
    run = bench.finished()
    path, sound = run / "weights.safetensors", (run / "weights.safetensors").read_bytes()
    for content in (sound[:-8192] + bytes(4096) + sound[-4096:], flip(sound, len(sound) - 1)):
        path.write_bytes(content)
        for command in ("evaluate", "sample"):
            refused(run, "is damaged: its digest does not match", command, run)
    ended = bench.resume(run)  # writes them again
    assert ended.status == 0 and "the run writes new ones" in ended.err, ended
    return "refused; --resume writes them again", bench.finish(run)


def not_a_number(benches):
    bench = benches["tiny-numpy"]
    run = bench.finished()
    path = run / "weights.safetensors"
    sound, tensors = path.read_bytes(), load_file(path)
    texts = json.loads(sound[8 : 8 + int.from_bytes(sound[:8], "little")])["__metadata__"]
    del texts["sha256"]
    next(iter(tensors.values())).flat[0] = np.nan
    path.write_bytes(to_bytes(tensors, texts))
    for command in ("evaluate", "sample"):
        refused(run, "is not finite", command, run)
    path.write_bytes(sound)
    return "refused: not finite", bench.finish(run)


def other_data(benches):
    """Refused; with --anyway a warning, which the results and config.json record."""
    bench = benches["tiny-numpy"]
    data, safe = bench.new_run(), bench.new_run()
    shutil.copytree(bench.data, data)
    begun = bench.stopped(options=["--data-dir", str(data)])
    done = bench.finished("--data-dir", str(data))
    shutil.copytree(data, safe)
    write_data(data, seed=1)
    said = "the data set has changed"
    refused(done, said, "evaluate", done)
    refused(done, said, "reconstruct", done)
    refused(begun, said, "train", "--resume", begun)
    again = bench.new_run()
    refused(done, said, "train", "--config", done / "config.json", "--out", again)
    assert not again.exists()
    ended = scratchvae("evaluate", done, "--anyway", "--json")
    assert ended.status == 0 and said in ended.told, ended
    assert json.loads(ended.out)["data_changed"] is True
    ended = scratchvae(
        "train", "--config", done / "config.json", "--out", again, "--anyway", "--json"
    )
    assert ended.status == 0 and said in ended.told, ended
    for run, step in ((begun, 30), (again, 0)):
        if run == begun:
            ended = bench.resume(run, options=["--anyway"])
            assert ended.status == 0 and said in ended.err, ended
        (change,) = json.loads((run / "config.json").read_bytes())["run"]["changes"]
        assert change["step"] == step and len({*change["data_sha256"]}) == 2, change
        assert scratchvae("evaluate", run).status == 0  # on the data that it was trained on
        ended = bench.resume(run)
        assert ended.status == 0 and not ended.err, ended
    return "refused; --anyway is recorded", "goes on with the new data"


def moved(benches):
    """The first run stops; it can be resumed where it is now."""
    bench = benches["tiny-numpy"]
    run, elsewhere, later = bench.new_run(), bench.new_run(), []

    def move():
        run.rename(elsewhere)
        later.append(bench.train(run))
        later.append(whole(run))

    ended = bench.train_with_a_pause(run, "after replace checkpoints/step-000000012", move)
    assert ended.status == 2 and "another run or process has taken this folder" in ended.told, ended
    second, files = later
    assert second.status == 0 and whole(run) == files, second
    assert contents(run) == bench.files
    return "the first stopped, one line", bench.finish(elsewhere)


def lock_deleted(benches):
    """The process that trains notices at its next checkpoint."""
    bench = benches["tiny-numpy"]
    run, later = bench.new_run(), []

    def second():
        (run / "lock").unlink()
        later.append(bench.resume(run))

    ended = bench.train_with_a_pause(run, "after replace checkpoints/step-000000012", second)
    assert ended.status == 2 and "or its lock was deleted" in ended.told, ended
    assert later[0].status == 0, later
    return "the first stopped, the second trained to its end", bench.finish(run)


def link(name, benches):
    """Nothing is read or written through it."""
    bench = benches["tiny-numpy"]
    run, other = bench.stopped(), bench.stopped(options=["--seed", "1"])
    target, own = other / name, run / name
    target.touch() if not target.exists() and "." in name else None
    with contextlib.suppress(FileNotFoundError):
        own.rename(bench.new_run())
    own.symlink_to(target)
    before = whole(other), (other / "lock").read_bytes()
    ended = bench.resume(run)
    assert ended.status == 2 and "is a link to" in ended.told, ended
    assert (whole(other), (other / "lock").read_bytes()) == before
    return "refused, one line", "the other run is untouched"


def users_lock(benches):
    bench = benches["tiny-numpy"]
    run, note = bench.new_run(), bench.new_run()
    run.mkdir()
    note.write_text("the code is 1234\n")
    for path in (run / "lock", None):
        if path is None:
            (run / "lock").unlink()
            (run / "lock").symlink_to(note)
        else:
            path.write_bytes(note.read_bytes())
        ended = bench.train(run)
        assert ended.status == 2 and str(run / "lock") in ended.told, ended
        assert note.read_text() == (run / "lock").read_text() == "the code is 1234\n"
    (run / "lock").unlink()
    return "refused, a file and a link", bench.finish(run)


def copies(benches):
    """They are neither counted nor deleted nor loaded."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    last, before = RunFolder(run).all_checkpoints()
    content = before.read_bytes()
    names = [f"step-backup-{letter}.safetensors" for letter in "abc"]
    names += ["step-000000001 (copy).safetensors", "step-99.safetensors", "backup.safetensors"]
    names += ["step-000000099.safetensors", "step-1000000000.safetensors"]
    for name in names:
        last.with_name(name).write_bytes(content)
    ended = bench.resume(run)
    assert ended.status == 0 and f"after step {int(last.stem[5:])}\n" in ended.out, ended
    assert ended.err.count("is a copy of the checkpoint after step") == 2, ended
    for name in names:
        assert last.with_name(name).read_bytes() == content, name
        last.with_name(name).unlink()
    return f"{len(names)} copies stay", bench.finish(run)


def diverges(benches):
    """The old results and their checkpoint are still there."""
    bench = benches["tiny-numpy"]
    run = bench.finished("--keep", "1")
    (last,) = RunFolder(run).all_checkpoints()
    paths = last, run / "weights.safetensors", run / "metrics.json"
    kept = {path: without_identity(path) for path in paths}
    ended = bench.resume(run, options=["--epochs", "9", "--lr", "1e30"])
    assert ended.status == 2 and "diverged" in ended.told, ended
    for path, content in kept.items():
        assert without_identity(path) == content, path
    ended = bench.resume(run, options=["--epochs", "5", "--lr", "0.001"])
    assert ended.status == 0, ended
    return "status 2, results and checkpoint kept", "resumed with a smaller rate"


def best_damaged_before_evaluate(benches):
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    best, sound = RunFolder(run).best, RunFolder(run).best.read_bytes()
    best.write_bytes(flip(sound, len(sound) // 2))
    ended = scratchvae("evaluate", run, "--engine", "numpy")
    assert ended.status == 0 and f"{best} is damaged" in ended.told, ended
    best.write_bytes(sound)
    return "a warning names it", bench.finish(run)


def best_lost(benches):
    """Said before the training, not after it."""
    bench = benches["tiny-numpy"]
    run = bench.stopped()
    files = RunFolder(run)
    sound = files.best.read_bytes()
    files.best.unlink()
    for path in files.all_checkpoints()[1:]:  # one of them may be of that epoch
        path.unlink()
    refused(run, "the weights of the best epoch", "train", "--resume", run)
    ended = bench.resume(run, options=["--anyway"])
    assert ended.status == 0 and "are lost" in ended.err, ended
    (change,) = json.loads(files.config.read_bytes())["run"]["changes"]
    assert "best_epoch" in change
    assert files.best.exists() and len(sound)
    return "refused; --anyway is recorded", "trained to its end"


def no_pictures(benches):
    """Weights and metrics are there all the same."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()

    def in_the_way():
        (run / "loss.png").mkdir()
        (run / "pictures").touch()

    ended = bench.train(run, at="before step", act=in_the_way)
    assert ended.status == 0 and ended.err.count("a picture could not be drawn") == 3, ended
    assert (run / "weights.safetensors").exists() and (run / "metrics.json").exists()
    (run / "loss.png").rmdir()
    (run / "pictures").unlink()
    shutil.copytree(bench.folder / "reference/pictures", run / "pictures")
    return "three warnings", bench.finish(run)


def no_locks(benches):
    """As on some network file systems; flushing a folder is not possible there, either."""
    bench = benches["tiny-numpy"]
    told = []
    for number in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
        run = bench.new_run()

        def without(number=number):
            def fail(*_):
                raise OSError(number, os.strerror(number))

            flush = os.fsync

            def files_only(file):
                if os.path.isdir(f"/proc/self/fd/{file}"):
                    raise OSError(errno.EINVAL, "Invalid argument")
                flush(file)

            fcntl.flock, os.fsync = fail, files_only

        ended = bench.train(run, at="after load the data", act=without)
        assert ended.status == 0 and "no locks on this file system" in ended.told, ended
        told.append(os.strerror(number))
        bench.finish(run)
    return f"a warning: {', '.join(told)}", "trained to the end"


def equal_numbers(benches):
    """As in two containers: their temporary files have different names."""
    bench = benches["tiny-numpy"]
    path = bench.folder / f"picture-{os.getpid()}.png"
    script = (
        "import os, sys, time; os.getpid = lambda: 7\n"
        "from scratchvae.output import whole_file\n"
        "with whole_file(sys.argv[1]) as file:\n"
        "    for _ in range(40): file.write(sys.argv[2].encode() * 5000); time.sleep(0.01)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, path, letter]) for letter in "ab"]
    while any(writer.poll() is None for writer in writers):
        if path.exists():
            found = path.read_bytes()
            assert len(found) == 200_000 and len({*found}) == 1
    assert [writer.returncode for writer in writers] == [0, 0]
    assert not [*path.parent.glob(".picture*")]
    return "each file is whole", "-"


def hangup(benches):
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    ended = bench.train(run, at="before step", act=lambda: signal.raise_signal(signal.SIGHUP))
    assert ended.status == 129 and "everything is saved" in ended.told, ended
    return "exit status 129, saved", bench.finish(run)


def nohup(benches):
    """A signal that is ignored when the program starts stays ignored."""
    bench = benches["tiny-numpy"]
    run = bench.new_run()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        ended = bench.train(run, at="before step", act=lambda: signal.raise_signal(signal.SIGHUP))
    finally:
        signal.signal(signal.SIGHUP, before)
    assert ended.status == 0, ended
    return "trains on", bench.finish(run)
