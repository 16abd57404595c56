"""Count the instants at which a run accesses its folder, so that a fault can happen at any of them.

    Instants(run).watch()                  in a child: write a line to run.instants at each instant
    Instants(run, at=17).watch()           die at instant 17
    Instants(run, at=17, act=...).watch()  call `act` at instant 17

A file is opened, half of it is written, then the rest, it is flushed and renamed, and its folder is
flushed: the power may fail between any two of these. Further instants are every training step,
every evaluation, and the loading of the data.
"""

import builtins
import io
import os
import re
import signal
from pathlib import Path

from scratchvae import train
from scratchvae.runs import session, trainer

TEMPORARY = re.compile(r"^\.(.+)\.[0-9a-f]{16}\.tmp$")


def die():
    """Die as in a power failure: no handler runs, no buffer is written."""
    os.kill(os.getpid(), signal.SIGKILL)


class Instants:
    """Counts instants in this process, and acts at one of them.

    Parameters
    ----------
    run : Path
        The run's folder: other files do not count.
    at : int or str, optional
        Number of an instant, or (the beginning of) its name.
    act : callable
        What to do there.
    """

    def __init__(self, run, at=None, act=die):
        self.run, self.at, self.act = os.path.realpath(run), at, act
        self.count, self.written = 0, set()
        self.log = os.open(log_of(run), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)

    def watch(self):
        """Start counting, until the end of this process."""
        self._open = builtins.open
        builtins.open = io.open = self._watched_open  # pathlib uses io.open
        paths = {
            "replace": lambda old, new, **_: self._name(new),
            "unlink": lambda path, **_: self._name(path),
            "mkdir": lambda path, *_: self._name(path),
            "fsync": lambda number: self._name(os.readlink(f"/proc/self/fd/{number}")),
        }
        for name, path in paths.items():
            setattr(os, name, self._watched(getattr(os, name), name, path))
        session.load_data = self._watched(session.load_data, "load the data", _nameless)
        train.train_step = self._watched(train.train_step, "step", _nameless)
        trainer.evaluate_sampled = self._watched(trainer.evaluate_sampled, "eval", _nameless)

    def reach(self, name):
        """Count an instant: `before step`, `half of checkpoints/step-000000004.safetensors`, ..."""
        self.count += 1
        os.write(self.log, f"{name}\n".encode())
        if self.count == self.at or (isinstance(self.at, str) and name.startswith(self.at)):
            self.at = None
            self.act()

    def _watched(self, function, verb, name_of):
        def watched(*arguments, **options):
            if (name := name_of(*arguments, **options)) is None:
                return function(*arguments, **options)
            self.reach(f"before {verb} {name}".rstrip())
            result = function(*arguments, **options)
            self.reach(f"after {verb} {name}".rstrip())
            return result

        return watched

    def _watched_open(self, path, mode="r", *more, **options):
        file = self._open(path, mode, *more, **options)
        name = self._name(path)
        if name is not None and {"w", "x"} & {*mode}:
            self.reach(f"after open {name}")
            write = file.write

            def watched_write(content):
                file.write = write  # only the first time: pictures are written in many pieces
                content = bytes(content)
                write(content[: len(content) // 2])
                file.flush()
                self.reach(f"half of {name}")
                return len(content) // 2 + write(content[len(content) // 2 :])

            file.write = watched_write
        return file

    def _name(self, path):
        """The file's name in the run, without a temporary suffix; None for files elsewhere."""
        if not isinstance(path, str | os.PathLike):
            return None
        path = os.path.realpath(path)
        if path != self.run and not path.startswith(self.run + os.sep):
            return None
        folder, name = os.path.split(os.path.relpath(path, self.run))
        return os.path.join(folder, TEMPORARY.sub(r"\1", name))


def _nameless(*_, **__):
    return ""


def log_of(run):
    """The file, beside the run's folder, with the instants of the last run."""
    return Path(f"{run}.instants")


def instants(run):
    """The names of the last run's instants, in order; none if it was killed before it began to
    count."""
    log = log_of(run)
    return log.read_text().splitlines() if log.exists() else []


def kind(name):
    """The kind of an instant: equal for all checkpoints, all pictures, all steps."""
    return re.sub(r"\d+", "N", name)
