"""One process at a time: a lock on a file, which the system opens when its process dies."""

from typing import IO


def lock(file: IO[bytes], wait: bool) -> bool:
    """Lock an open file until it is closed.

    Parameters
    ----------
    file : file
    wait : bool
        For another process to be done with it.

    Returns
    -------
    bool
        False if another process has locked it, and nobody waits. On Windows always True: there,
        nobody stops a second process.
    """
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True
