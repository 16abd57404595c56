"""Run the command line in a forked child, where everything is already imported and compiled.

Starting then takes milliseconds, and the child is an ordinary process, which can be killed.
"""

import contextlib
import io
import os
import signal
import sys
import tempfile
import time
import traceback
from typing import NamedTuple

from scratchvae.__main__ import main

PATIENCE = 300  # seconds; no run here takes more than a few


class Ended(NamedTuple):
    """How a command ended."""

    status: int  # as in a shell: 137 after SIGKILL
    out: str
    err: str

    @property
    def told(self):
        """The one line on standard error; AssertionError if there are more, or a traceback."""
        lines = self.err.splitlines()
        assert len(lines) == 1, f"expected one line on stderr, got {len(lines)}: {self.err!r}"
        return lines[0]


def scratchvae(*arguments, prepare=None, meanwhile=None):
    """Run `scratchvae ARGUMENTS` in a fork and wait for its end.

    Parameters
    ----------
    prepare : callable, optional
        Called in the child before the command.
    meanwhile : callable, optional
        Called in this process with the child's process id.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            _be_the_command([str(argument) for argument in arguments], prepare, out, err)
        try:
            if meanwhile is not None:
                meanwhile(child)
            status = _wait(child)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            raise
        for file in (out, err):
            file.seek(0)
        return Ended(status, out.read(), err.read())


def has_ended(child):
    """Whether this child has ended; it can still be waited for."""
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _wait(child):
    deadline = time.monotonic() + PATIENCE
    while not has_ended(child):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f"the command did not end within {PATIENCE} s")
        time.sleep(0.002)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return 128 - status if status < 0 else status


def _be_the_command(arguments, prepare, out, err):
    """Never returns, because the child must not continue as the parent."""
    status = 70
    try:
        for number, file in ((1, out), (2, err)):
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = io.TextIOWrapper(io.FileIO(1, "w")), os.fdopen(2, "w", 1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        if prepare is not None:
            prepare()
        status = main(arguments)
    except SystemExit as leaving:
        status = leaving.code
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)
