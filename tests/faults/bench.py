"""A small run that uses every option, its files, and the comparison of other runs with them.

The run has everything that a resumed run could forget: all random streams, all schedules, momentum
of the optimizer, a validation share, checkpoints within epochs, pictures.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import time
from functools import cache, partial
from itertools import count

import numpy as np
from forks import has_ended, scratchvae
from idx_files import write_parts
from instants import Instants, instants, log_of
from safetensors.numpy import load

from scratchvae.__main__ import main
from scratchvae.runs import RunFolder, open_run
from scratchvae.runs.checkpoint import read_checkpoint
from scratchvae.runs.config import IDENTITY

EVERY = 4  # steps between checkpoints
OPTIONS = (
    "--epochs 4 --batch-size 16 --lr 0.03 --lr-schedule cosine --lr-warmup 1 "
    "--clip-norm 5 --kl-schedule cyclical --kl-cycles 2 --binarize --validation 0.1 "
    f"--checkpoint-every {EVERY} --keep 2 --pictures 2,4"
).split()


class Bench:
    """A run to be disturbed, and the result of the undisturbed run.

    Parameters
    ----------
    folder : Path
        For data and runs; no file is written elsewhere.
    model, engine : str
    """

    def __init__(self, folder, model, engine, options=None):
        self.folder, self.model, self.engine = folder / f"{model}-{engine}", model, engine
        self.data, self._numbers = self.folder / "data", count(1)
        self.data.mkdir(parents=True)
        write_data(self.data)
        more = ["--data-dir", str(self.data), *OPTIONS] if options is None else options
        self.options = [model, "--engine", engine, *more]
        if options is None:  # compile, so that the time of the next run counts
            main(["train", *self.options, "--quiet", "--out", str(self.folder / "warm")])
        reference = self.folder / "reference"
        began = time.monotonic()
        ended = self.train(reference)
        self.seconds = time.monotonic() - began
        assert ended.status == 0, ended.err
        self.instants, self.files = instants(reference), contents(reference)

    def new_run(self):
        """A folder name that no other fault uses."""
        return self.folder / f"run-{os.getpid()}-{next(self._numbers)}"

    def finished(self, *options):
        """A complete run, in a folder of its own."""
        return self._copy(self._run("", options) if options else self.folder / "reference")

    def stopped(self, step=30, options=()):
        """A run stopped by SIGTERM after this step, in a folder of its own."""
        numbers = [n for n, name in enumerate(self.instants, 1) if name == "after step"]
        return self._copy(self._run(numbers[step - 1], tuple(options)))

    @cache  # noqa: B019  (there are few benches, and they live as long as the process)
    def _run(self, at, options):
        """A run that only `_copy` reads: most faults begin with the same few."""
        run = self.new_run()
        ended = self.train(run, at=at or None, act=terminate, options=options)
        assert ended.status == (128 + signal.SIGTERM if at else 0), ended
        return run

    def _copy(self, run):
        return shutil.copytree(run, self.new_run())

    def train(self, run, at=None, act=None, meanwhile=None, options=()):
        """Begin a run; call `act` at the instant `at`."""
        return self._watched(run, at, act, meanwhile, *self.options, "--out", run, *options)

    def resume(self, run, at=None, act=None, meanwhile=None, options=()):
        """Resume a run."""
        return self._watched(run, at, act, meanwhile, "--resume", run, *options)

    def train_with_a_pause(self, run, at, work):
        """Begin a run, which stops itself at the instant `at` until `work()` is done."""

        def meanwhile(child):
            os.waitpid(child, os.WUNTRACED)  # it has stopped itself
            log = log_of(run).read_bytes()  # `work` may begin another run of this name
            work()
            log_of(run).write_bytes(log)
            assert not has_ended(child)
            os.kill(child, signal.SIGCONT)

        def pause():
            os.kill(os.getpid(), signal.SIGSTOP)

        return self.train(run, at=at, act=pause, meanwhile=meanwhile)

    def go_on(self, run, **how):
        """Resume the run, or begin it if it has not begun, as a user would."""
        begun = (run / "config.json").exists()
        return self.resume(run, **how) if begun else self.train(run, **how)

    def finish(self, run, aside=()):
        """Train to the end, and compare every bit with the reference, except for the files `aside`.
        Return a text that says what survived."""
        ended = self.go_on(run)
        assert ended.status == 0, f"resuming ended with status {ended.status}: {ended.err}"
        found = {name: content for name, content in contents(run).items() if name not in aside}
        assert found.keys() == self.files.keys(), f"files: {found.keys() ^ self.files.keys()}"
        others = [name for name in found if found[name] != self.files[name]]
        assert not others, f"different from the undisturbed run: {', '.join(others)}"
        since = re.search(
            r"^(?:continuing|training is done).* after (step [\d,]+)$", ended.out, re.M
        )
        return f"{since[1] if since else 'nothing'}; the end is the same, {len(found)} files"

    def _watched(self, run, at, act, meanwhile, *arguments):
        how = {} if act is None else {"act": act}
        return scratchvae(
            "train", *arguments, prepare=lambda: Instants(run, at, **how).watch(),
            meanwhile=meanwhile and partial(meanwhile),
        )  # fmt: skip


def terminate():
    """Send SIGTERM to this process."""
    signal.raise_signal(signal.SIGTERM)


def check_what_is_there(run):
    """AssertionError if a file under its final name is incomplete, or if more is lost than the work
    since the last checkpoint. Return the number of the last saved step."""
    folder = RunFolder(run)
    if not folder.config.exists():
        return 0
    folder.read_config()
    for path in folder.checkpoints.glob("[!.]*.safetensors"):
        read_checkpoint(path)  # raises if the file under the final name is incomplete
    checkpoints = folder.all_checkpoints()
    safe = int(checkpoints[0].stem.removeprefix("step-")) if checkpoints else 0
    if checkpoints:
        open_run(run, "numpy")
    names = instants(run)
    renamed = [n for n in names if n.startswith("after replace checkpoints/step-")]
    if renamed:
        last = int(renamed[-1].rpartition("-")[2].removesuffix(".safetensors"))
        assert safe >= last, (
            f"there was a checkpoint of step {last}, but now the last one is {safe}"
        )
        after = names[names.index(renamed[-1]) :].count("after step")
        assert after <= EVERY, f"{after} steps were lost"
    return safe


def contents(run):
    """Name -> digest of every file in a run, without its id; only of the last checkpoint, because
    a signal adds one, and not of the lock."""
    checkpoints = RunFolder(run).all_checkpoints()
    files = {}
    for path in sorted(run.rglob("*")):
        if path.is_file() and path.name != "lock" and path not in checkpoints[1:]:
            content = without_identity(path).encode()
            files[str(path.relative_to(run))] = hashlib.sha256(content).hexdigest()
    return files


def without_identity(path):
    """The content of a file of a run as text, without what identifies the run and the place of its
    data."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":
        tensors = load(content)
        facts = json.loads(bytes(tensors.pop("facts.json", b"{}")))
        for name in (*IDENTITY, "kept"):
            facts.pop(name, None)
        return repr((sorted((n, a.tobytes()) for n, a in tensors.items()), facts))
    if path.name == "config.json":
        found = json.loads(content)
        del found["run"]["id"], found["sha256"], found["options"]["data_dir"]
        return repr(found)
    return repr(content)


def leftovers(run):
    """Temporary files in a run."""
    return [path.name for path in run.rglob(".*") if ".tmp" in path.name]


def write_data(folder, seed=0):
    """Write MNIST's four files with a few random pictures."""
    rng = np.random.default_rng(seed)

    def pictures(count):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        images[:, 7:21, 7:21] //= 8  # something to learn
        return images

    write_parts(folder, rng, (160, 40), pictures, suffix="")
