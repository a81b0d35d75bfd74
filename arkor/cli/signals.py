"""Signals that end a command as Ctrl-C does: SIGTERM (``kill``, systemd) and SIGHUP (a terminal that closes)."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

_NAMES = ("SIGTERM", "SIGHUP")


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

        Only signals that would end the process are heeded: ``nohup`` has SIGHUP ignored, and Studio handles SIGTERM
        itself. After the first signal SIGHUP is ignored, since a terminal that closes may send it twice, and systemd
        may send it after SIGTERM. A process that the user's code forks is ended by the signals, as any other process.
        """
        numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
        is_main = threading.current_thread() is threading.main_thread()
        mine = [number for number in numbers if is_main and signal.getsignal(number) is signal.SIG_DFL]
        owner = os.getpid()

        def handle(number: int, _frame: object) -> None:
            if os.getpid() != owner:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
                return
            self.number = number
            for other in mine:
                if other != signal.SIGTERM:
                    signal.signal(other, signal.SIG_IGN)
            raise Terminated

        for number in mine:
            signal.signal(number, handle)
        try:
            yield
        finally:
            for number in mine:
                signal.signal(number, signal.SIG_DFL)
