"""Paths that are not files, and files that claim to be larger than they are."""

import os
import signal
import tracemalloc
from contextlib import contextmanager


def pipe(path):
    """A pipe without a writer: opening it waits forever."""
    os.mkfifo(path)
    return path


def sparse(path, size, content=b""):
    """A file of `size` bytes, zeros except for the first ones, that takes no space on the disk."""
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
