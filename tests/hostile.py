"""Files that are none, and files that are far larger than they are."""

import os
import signal
import tracemalloc
from contextlib import contextmanager


def pipe(path):
    """A pipe that nobody writes to: who opens it waits for ever."""
    os.mkfifo(path)
    return path


def sparse(path, size, content=b""):
    """A file of `size` bytes, zeros but for the first ones, that takes no room on the disk."""
    path.write_bytes(content)
    os.truncate(path, size)
    return path


@contextmanager
def bounded(seconds=10, megabytes=10):
    """What is done here must end in time, and must not take (or reserve) more memory."""

    def late(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 2**20
    finally:
        tracemalloc.stop()
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
