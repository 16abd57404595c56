"""After SIGINT (Ctrl-C), SIGTERM or SIGHUP a run finishes its step and saves before it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Stopped(Exception):
    """A signal ended the training; everything is saved. `signal` is its number."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopNow(KeyboardInterrupt):
    """A signal came when no step was under way."""


class Asked:
    """True after a signal (`signal`: the first); a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.signal, self._at_once = 0, False

    def __bool__(self) -> bool:
        return self.signal != 0

    def interrupt_from_now_on(self) -> None:
        """Raise StopNow for any signal, also for one that has come already."""
        self._at_once = True
        if self:
            raise StopNow

    def note(self, number: int, frame: Any) -> None:
        again = bool(self)
        self.signal = self.signal or number
        if self._at_once:
            raise StopNow
        if again and number == signal.SIGINT:
            raise KeyboardInterrupt


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Within the block, record signals instead of ending the process."""
    asked, before = Asked(), {}
    if threading.current_thread() is threading.main_thread():  # only it receives signals
        for number in (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", None)):
            # `nohup`, or a script that starts a job in the background, ignores some of them.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, asked.note)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
