"""The news that something was stored for a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Feed:
    """Passes the news on to one listener. Thread-safe."""

    def __init__(self) -> None:
        self._listener: Callable[[str], None] | None = None
        self._others: Callable[[Sequence[str] | None, bool], object] | None = None

    def listen(self, listener: Callable[[str], None], others: Callable[[Sequence[str] | None, bool], object]) -> None:
        """Have functions called when something was stored.

        Args:
            listener: gets a job's id when this server stored something for it, on the thread that stored it.
            others: gets the ids of jobs for which another server did, None if it may have been any job; and whether
                one of them was put into the queue.
        """
        self._listener, self._others = listener, others

    def publish(self, job_id: str) -> None:
        """Pass on that this server stored something for a job."""
        if self._listener is not None:
            self._listener(job_id)

    def hear(self, job_ids: Sequence[str] | None, queued: bool) -> None:
        """Pass on that another server stored something for jobs; see ``listen``."""
        if self._others is not None:
            self._others(job_ids, queued)
