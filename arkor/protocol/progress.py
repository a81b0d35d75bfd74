"""How far something is that takes in or gives out bytes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Progress = Callable[[int, "int | None"], object]
"""Takes how many bytes are done, and of how many where that is known."""

PERIOD_S = 0.1


class ProgressReport:
    """Calls a user's function about ten times a second, and at the end.

    Args:
        on_progress: the function, or None.
        total: bytes in all, or None.
    """

    def __init__(self, on_progress: Progress | None, total: int | None) -> None:
        self._on_progress = on_progress
        self._total = total
        self._next = time.monotonic() + PERIOD_S

    def tell(self, done: int) -> None:
        """Take in how many bytes are done.

        Raises:
            CallbackFailed: the function raised.
        """
        if self._on_progress is None:
            return
        now = time.monotonic()
        if now < self._next and done != self._total:
            return
        self._next = now + PERIOD_S
        try:
            self._on_progress(done, self._total)
        except Exception as exc:
            raise CallbackFailed(exc) from exc


class CallbackFailed(Exception):
    """The user's function raised; in its own shape it could be taken for a fault of the disk or the connection."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


@contextmanager
def raising_as_it_was() -> Iterator[None]:
    """Raise what a user's function raised in the block."""
    try:
        yield
    except CallbackFailed as exc:
        raise exc.reason from None
