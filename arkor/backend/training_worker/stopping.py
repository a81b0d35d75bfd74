"""How a worker is made to stop: who asked for it, and how the thread that trains comes to know.

While the model and the rows are loaded there is nothing to save, so the main thread is interrupted wherever it is.
While it trains it looks at the switch itself, between steps, and saves what it has.
"""

from __future__ import annotations

import enum
import signal
import threading
from types import FrameType


class StopReason(enum.Enum):
    """Why a worker stops before it is done; the value is its exit code."""

    CANCELLED = 0  # the user no longer wants the job
    ORPHANED = 3  # the backend has not answered for a long time
    TERMINATED = 4  # the backend stops and will resume the job later


class Interrupted(BaseException):
    """Raised in the main thread to unwind it, past any library's ``except Exception``."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason)
        self.reason = reason


class Position:
    """How far a training is.

    Attributes:
        step: optimizer steps done, None before the first attempt to do one.
        has_begun: whether the rows and the model are ready, and the training has begun.
    """

    def __init__(self) -> None:
        self.step: int | None = None
        self.has_begun = False

    def fields(self) -> dict[str, int]:
        """Return it as the fields of an event."""
        return {} if self.step is None else {"step": self.step}


class StopSwitch:
    """Set once, by whichever reason comes first. Thread-safe, but for ``install``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reason: StopReason | None = None
        self._interruptible = True

    @property
    def reason(self) -> StopReason | None:
        """Why to stop, or None to go on."""
        return self._reason

    def install(self) -> None:
        """Take over SIGTERM, and the signal that wakes the main thread. Only the main thread may call it."""
        signal.signal(signal.SIGTERM, self._on_sigterm)
        signal.signal(signal.SIGUSR1, self._on_wake)

    def request(self, reason: StopReason) -> None:
        """Ask for a stop from another thread; only the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def hold(self) -> None:
        """From now on the main thread looks at ``reason`` itself, and is not interrupted.

        Raises:
            Interrupted: a stop was asked for already.
        """
        self._interruptible = False
        self.check()

    def check(self) -> None:
        """Raise where a stop was asked for.

        Raises:
            Interrupted: it was.
        """
        if self._reason is not None:
            raise Interrupted(self._reason)

    def _on_sigterm(self, _number: int, _frame: FrameType | None) -> None:
        # Runs in the main thread, which may hold the lock already: so it does not ask for it.
        if self._reason is None:
            self._reason = StopReason.TERMINATED
        self._on_wake(_number, _frame)

    def _on_wake(self, _number: int, _frame: FrameType | None) -> None:
        if self._interruptible:
            self._interruptible = False  # unwind once: cleaning up must not be interrupted by a second signal
            self.check()
