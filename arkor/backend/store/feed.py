"""Waking the event streams of a job when something was stored for it."""

from __future__ import annotations

import contextlib
import threading
from collections import defaultdict
from collections.abc import Iterator


class Feed:
    """Who listens to which job. Thread-safe.

    A listener clears its signal, reads the database, and waits only when there was nothing to read: what is
    stored in between sets the signal again, so that no event is missed and nobody polls.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._listeners: defaultdict[str, set[threading.Event]] = defaultdict(set)
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the backend is stopping, so that streams have to end."""
        return self._closed

    @contextlib.contextmanager
    def listen(self, job_id: str) -> Iterator[threading.Event]:
        """Give a signal that is set whenever events of the job were stored, and when the feed closes."""
        signal = threading.Event()
        with self._lock:
            self._listeners[job_id].add(signal)
        try:
            yield signal
        finally:
            with self._lock:
                self._listeners[job_id].discard(signal)
                if not self._listeners[job_id]:
                    del self._listeners[job_id]

    def publish(self, job_id: str) -> None:
        """Wake the listeners of a job. Call it after the transaction that stored the events."""
        with self._lock:
            for signal in self._listeners.get(job_id, ()):
                signal.set()

    def close(self) -> None:
        """Wake every listener for good."""
        with self._lock:
            self._closed = True
            for signals in self._listeners.values():
                for signal in signals:
                    signal.set()
