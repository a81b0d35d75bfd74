"""The news that something was stored for a job."""

from __future__ import annotations

from collections.abc import Callable


class Feed:
    """Passes the news on to one listener. Thread-safe."""

    def __init__(self) -> None:
        self._listener: Callable[[str], None] | None = None

    def listen(self, listener: Callable[[str], None]) -> None:
        """Have a function called with a job's id when something was stored for it, on the thread that stored it."""
        self._listener = listener

    def publish(self, job_id: str) -> None:
        """Pass the news on. Call it after the transaction that stored the events."""
        if self._listener is not None:
            self._listener(job_id)
