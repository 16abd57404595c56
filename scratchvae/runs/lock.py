"""One process trains in the folder of a run: it locks a file there, and looks before it saves.

The lock follows the file, not its name. If the run is moved while it trains, another one may begin
in its place with a lock of its own; so before each save the process makes sure that the name still
leads to its file. The system gives the lock back when the process dies; the file may stay.
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..output import NO_LINK, lock, warn

CONTENT = re.compile(rb" *\d+ [0-9a-f]{16}\s*")  # the process that locked it last, and a token


class NotOurs(RuntimeError):
    """The folder of a run in training was moved, or another process has taken it."""


class Lock:
    """The lock of a folder for a `with` block. RuntimeError if another process holds it; OSError if
    a file of that name is not a lock of ours, or is a link."""

    def __init__(self, path: Path) -> None:
        self.path, self.folder = path, path.parent
        self._mine = f"{os.getpid():10} {token_hex(8)}\n".encode()

    def __enter__(self) -> Lock:
        while True:
            # Nothing is truncated: the file may be the user's.
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | NO_LINK, 0o644)
            try:
                self._take()
                if self._is_there():
                    return self
            except BaseException:
                os.close(self._file)
                raise
            os.close(self._file)  # deleted between the two calls

    def __exit__(self, *_: Any) -> None:
        os.close(self._file)

    def _take(self) -> None:
        """Lock the file and write into it who we are."""
        found = os.fstat(self._file)
        regular = stat.S_ISREG(found.st_mode)  # reading a pipe would block
        content = os.read(self._file, 100) if regular else b"?"
        # Version 0.1 wrote only the number, as other programs do.
        old = found.st_nlink == 1 and (self.folder / "config.json").exists() and content.strip()
        if content and not (CONTENT.fullmatch(content) or (old and old.isdigit())):
            raise OSError(f"{self.path} is not the lock of a run: choose another folder")
        try:
            free = lock(self._file)
        except OSError as problem:
            free = True
            warn(
                f"{self.folder}: no locks on this file system ({problem.strerror}): if another "
                "process begins to train in this folder, this one stops when it next saves"
            )
        if not free:
            who = content.split()[0].decode() if content else "unknown"
            raise RuntimeError(
                f"{self.folder}: another process (PID {who}) is training in this folder; wait for "
                "it, or choose another folder"
            )
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, self._mine)

    def _is_there(self) -> bool:
        """Whether the name leads to our file, and no other process has written into it since."""
        with suppress(FileNotFoundError, NotADirectoryError):
            named = os.stat(self.path, follow_symlinks=False)
            os.lseek(self._file, 0, os.SEEK_SET)
            same = os.path.samestat(named, os.fstat(self._file))
            return same and os.read(self._file, 100).startswith(self._mine)
        return False

    def check(self) -> None:
        """NotOurs if the folder is no longer the one that was locked."""
        if self._is_there():
            return
        if self.folder.exists():
            what = "another run or process has taken this folder, or its lock was deleted,"
            then = "it stops and writes nothing more here"
        else:
            what = "there is no folder any more: it was moved or deleted"
            then = "there is no checkpoint here"
        raise NotOurs(
            f"{self.folder}: {what} while this process trained; {then}. If the run was moved, "
            "resume it where it is now"
        )
