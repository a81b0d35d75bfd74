"""Signals that ask a process to end, as something to wait for."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))


class StopRequest:
    """Turns such a signal into something to wait for.

    A signal's handler may run while the main thread is inside any lock, so the first does nothing. Python itself writes
    its number to a pipe, also where the kernel hands the signal to another thread and the main one goes on sleeping.

    Args:
        at_once: called where a second one comes, which then ends the process at once; None passes over it.
    """

    def __init__(self, at_once: Callable[[], object] | None = None) -> None:
        self._at_once = at_once

    def __enter__(self) -> StopRequest:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._former_fd = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        heeded = [number for number in _SIGNALS if not _is_ignored(number)]
        self._former = {number: signal.signal(number, self._came) for number in heeded}
        self._came_before = False
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._former_fd)
        os.close(self._reader)
        os.close(self._writer)

    def came(self, timeout_s: float | None) -> bool:
        """Wait until a signal has come; return False where none did in time."""
        return bool(select.select([self._reader], [], [], timeout_s)[0])

    def wait(self) -> int:
        """Wait until a signal has come, and return its number."""
        return os.read(self._reader, 1)[0]

    def _came(self, number: int, _frame: object) -> None:
        if self._came_before and self._at_once is not None:
            try:
                self._at_once()
            finally:
                os._exit(128 + number)
        self._came_before = True


def _is_ignored(number: int) -> bool:
    """Say whether whoever started this wants it to outlive its terminal, as nohup does."""
    return number == getattr(signal, "SIGHUP", None) and signal.getsignal(number) is signal.SIG_IGN
