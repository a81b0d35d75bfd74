"""Noticing browsers that leave while something is read for them, and answers that go through as they arrive."""

from __future__ import annotations

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import requests
from waitress.channel import ClientDisconnected

from arkor.errors import Aborted, ArkorError
from arkor.http.abort import AbortScope
from arkor.http.translate import translated
from arkor.text import one_line

LOOK_S = 0.25
READ_BYTES = 64 * 1024

HasLeft = Callable[[], bool]
T = TypeVar("T")

logger = logging.getLogger(__name__)


class Departures:
    """Ends what is read for a browser that has left, also while the backend is silent.

    One thread looks after all of them. It is there while there are any.

    Args:
        stopping: ends all of them when set.

    Thread-safety: safe.
    """

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._lock = threading.Lock()
        self._watched: dict[AbortScope, HasLeft] = {}
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def watching(self, has_left: HasLeft) -> Iterator[AbortScope]:
        """Give the limits of what is read inside the block.

        Args:
            has_left: whether the browser has closed its connection; asked on another thread.
        """
        with AbortScope(None) as limits:
            with self._lock:
                self._watched[limits] = has_left
                if self._thread is None:
                    self._thread = threading.Thread(target=self._look, name="arkor-studio-departures", daemon=True)
                    self._thread.start()
            try:
                yield limits
            finally:
                with self._lock:
                    del self._watched[limits]

    def _look(self) -> None:
        while True:
            stopping = self._stopping.wait(LOOK_S)
            with self._lock:
                watched = list(self._watched.items())
                if stopping or not watched:
                    self._thread = None
            for limits, has_left in watched:
                if stopping or has_left():
                    limits.shut_down()
            if stopping or not watched:
                return


def pieces(response: requests.Response, limits: AbortScope) -> Iterator[bytes]:
    """Yield the body of an answer as it arrives; end where the browser has left.

    Raises:
        ConnectionFailed: the answer was cut.
    """
    with contextlib.suppress(Aborted):
        while True:
            with limits.noticing_the_end(), translated(response.url.partition("?")[0]):
                data = response.raw.read1(READ_BYTES)
            if not data:
                return
            yield data


def stream_pieces(response: requests.Response, limits: AbortScope) -> Iterator[bytes]:
    """Yield a streamed answer as it arrives; one that is cut ends with an error, as one that failed does."""
    try:
        yield from pieces(response, limits)
    except ArkorError as exc:
        body = json.dumps({"error": {"message": f"The answer was cut: {exc}"}})
        yield f"\n\ndata: {body}\n\n".encode()  # first the end of a frame that was cut


def cut_visibly(body: Iterator[T], what: str) -> Iterator[T]:
    """Yield a body; where it fails in the middle, end the connection such that no browser takes it for whole.

    Args:
        body: what is sent.
        what: what to call it in the log.
    """
    try:
        yield from body
    except ArkorError as exc:
        logger.warning("%s", one_line(f"{what} was cut: {exc}"))
        raise ClientDisconnected from exc  # waitress 3.0 closes the connection then, without the mark of an end
