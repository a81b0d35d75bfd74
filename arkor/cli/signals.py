"""Signals that end a command as Ctrl-C does: SIGTERM (``kill``, systemd) and SIGHUP (a terminal that closes)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import NoReturn

_heeded: list[int] = []  # the signals that a command of this process heeds


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP: ends the wait for a job as Ctrl-C does, and a conversation too."""


class Termination:
    """The signal that ends a command.

    Attributes:
        number: the last SIGTERM or SIGHUP that came, or None.

    Thread-safety: signals are handled on the main thread.
    """

    def __init__(self) -> None:
        self.number: int | None = None

    @contextlib.contextmanager
    def heeded(self) -> Iterator[None]:
        """Raise Terminated in the block if such a signal comes.

        Only signals that would end the process are heeded: ``nohup`` has SIGHUP ignored, and a program that runs the
        command may handle SIGTERM itself. A process that the user's code forks is ended by the signals, as any other.
        """
        is_main = threading.current_thread() is threading.main_thread()
        known = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
        numbers = [number for number in known if is_main and signal.getsignal(number) is signal.SIG_DFL]
        for number in numbers:
            signal.signal(number, self._came)
        _heeded[:] = numbers
        try:
            yield
        finally:
            _heeded.clear()
            for number in numbers:
                signal.signal(number, signal.SIG_DFL)

    def _came(self, number: int, _frame: object) -> NoReturn:
        self.number = number
        for other in _heeded:
            if other != signal.SIGTERM:  # a closing terminal may send SIGHUP twice, and systemd after SIGTERM
                signal.signal(other, signal.SIG_IGN)
        raise Terminated


if sys.platform != "win32":

    def _before_fork() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _heeded)  # Python forgets a signal that comes to a child just then

    def _after_fork_in_parent() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _heeded)

    def _after_fork_in_child() -> None:
        for number in _heeded:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _heeded)
        _heeded.clear()

    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
