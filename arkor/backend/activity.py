"""Whether anybody is using the backend."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from werkzeug.wsgi import ClosingIterator

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


class Activity:
    """Counts the requests that are being answered, event streams among them. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._last = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds since the last request was done; 0 while one is under way."""
        with self._lock:
            return 0.0 if self._open else time.monotonic() - self._last

    def watch(self, app: WSGIApplication) -> WSGIApplication:
        """Wrap an application so that its requests are counted until their last byte."""

        def watched(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            self.begin()
            try:
                body = app(environ, start_response)
            except BaseException:
                self.end()
                raise
            return ClosingIterator(body, self.end)

        return watched

    def begin(self) -> None:
        """Count an answer that is under way."""
        self._count(1)

    def end(self) -> None:
        """Count an answer as done."""
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            self._open += change
            self._last = time.monotonic()
