"""The user's cache folder, and how several processes write to it: whole files, and a lock."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def cache_folder() -> Path:
    """The user's cache folder for all data sets; RuntimeError without a home directory."""
    import pooch  # here, for `import scratchvae` to stay fast

    return Path(pooch.os_cache("scratchvae")).expanduser()


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to in a `with` block. It replaces `path` when the block ends well.

    Other processes see the old file or the new one, never a part. What a link at `path` leads to
    is not written to.
    """
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            yield file
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def lock(file: IO[bytes], wait: bool) -> bool:
    """Lock an open file until it is closed, or until this process dies.

    Returns False if another process holds the lock and `wait` is False. On Windows nothing is
    locked, and the answer is always True.
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
