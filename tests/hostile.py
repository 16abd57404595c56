"""Paths that are not files, and files whose headers give a larger size than they have."""

import os
import signal
import tracemalloc
from contextlib import contextmanager


def pipe(path):
    """A pipe without a writer: opening it waits forever."""
    os.mkfifo(path)
    return path


def sparse(path, size, content=b""):
    """A sparse file of `size` bytes: `content`, then zeros that take no space on the disk."""
    path.write_bytes(content)
    os.truncate(path, size)
    return path


@contextmanager
def bounded(seconds=60, megabytes=10):
    """Limit the time, generously, and the memory (also reserved memory) of the `with` block."""

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
