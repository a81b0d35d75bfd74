"""One browser's view of a job's events: read on a thread of its own, so that a silent backend holds nobody up.

Reading goes on behind the last event over lost connections and restarts of the backend, as everywhere in the library.

Protocol: docs/protocol.md, "The event stream" and "Reader rules".
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from arkor.client.client import CloudApiClient
from arkor.client.position import StreamPosition
from arkor.client.stream import EventStream, ReconnectPolicy, is_refusal
from arkor.errors import Aborted, ArkorError, CloudApiError, ConnectionFailed, LocalBackendError
from arkor.http import deprecation
from arkor.http.abort import Deadline
from arkor.protocol.jobs import Scope
from arkor.studio.disconnects import HasLeft
from arkor.studio.redact import json_text
from arkor.studio.upstream import Upstream

POLICY = ReconnectPolicy(base_delay=1.0, max_delay=10.0)  # somebody is looking
OPENING_S = 5.0
LOOK_S = 0.25
MOST_WAITING_CHARS = 1024 * 1024  # of events that wait for a slow browser; the rest wait at the backend
PING, END = "event: ping\ndata: {}\n\n", "event: end\ndata: {}\n\n"

logger = logging.getLogger(__name__)


class Relay:
    """The events of one job for one browser.

    Args:
        upstream: the backend.
        job_id: the job.
        after: begin behind the event of this id; None for the first one.

    Attributes:
        notices: the headers with which the backend gave notice of something, as of the first connection.

    Thread-safety: one thread iterates; ``close`` may be called from any.
    """

    def __init__(self, upstream: Upstream, job_id: str, after: str | None) -> None:
        self.notices: dict[str, str] = {}
        self._upstream = upstream
        self._job_id = job_id
        self._position = StreamPosition(after)
        self._changed = threading.Condition()
        self._frames: list[str] = []
        self._waiting_chars = 0
        self._closed = threading.Event()
        self._is_opened = self._is_done = False
        self._refusal: ArkorError | None = None
        self._thread = threading.Thread(target=self._run, name="arkor-studio-events", daemon=True)

    def open(self) -> None:
        """Begin to read, and wait until the backend has taken the first request, though not for long.

        Raises:
            ArkorError: it cannot be read, and another try would not mend that.
        """
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._is_opened or self._is_done, OPENING_S)
        if self._refusal is not None:
            raise self._refusal

    def close(self) -> None:
        """Stop reading, at once; nobody looks any more."""
        self._closed.set()
        with self._changed:
            self._changed.notify_all()

    def frames(self, has_left: HasLeft, ping_s: float) -> Iterator[str]:
        """Yield frames as they come, and a ping after so many seconds without one, to the end.

        Args:
            has_left: whether the browser has closed its connection.
            ping_s: seconds.
        """
        sent_at = time.monotonic()
        while not has_left() and not self._closed.is_set():
            frames = self._take()
            if frames is None:
                return
            if frames or time.monotonic() - sent_at >= ping_s:
                yield frames or PING
                sent_at = time.monotonic()

    # On the browser's thread

    def _take(self) -> str | None:
        """Return the frames that are there, empty after a while without any; None after the last one."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames or self._is_done or self._closed.is_set(), LOOK_S)
            taken, self._frames, self._waiting_chars = self._frames, [], 0
            self._changed.notify_all()
            return "".join(taken) if taken or not self._is_done else None

    # On the thread that reads

    def _run(self) -> None:
        try:
            with deprecation.headers_into(self.notices):
                self._read()
        except Aborted:  # closed by whoever looked, or refused: then _refusal says why
            pass
        except ArkorError as exc:  # where the browser got frames, it comes again, and is told then
            logger.info("Job %s: the events ended: %s", self._job_id, exc)
            self._refusal = exc
        finally:
            with self._changed:
                self._is_done = True
                self._changed.notify_all()

    def _read(self) -> None:
        position = self._position
        stream = EventStream(
            self._job_id,
            self._open,
            policy=POLICY,
            abort_event=self._closed,
            deadline=Deadline(),
            position=position,
            is_over=self._is_over,
            check_alive=lambda: None,  # the next connection finds it, or starts it
        )
        with contextlib.closing(iter(stream)) as bodies:
            for body in bodies:
                position.delivered = position.offered
                self._put(frame(position.offered[0], body))
        self._put(END)

    def _open(self, last_event_id: str | None, timeout_s: tuple[float, float]) -> requests.Response:
        def ask(client: CloudApiClient, scope: Scope) -> requests.Response:
            return client.open_events(scope, self._job_id, last_event_id=last_event_id, timeout_s=timeout_s)

        try:
            response = self._upstream.ask_project(ask)
        except LocalBackendError as exc:  # it may be possible to start it later
            raise ConnectionFailed(str(exc)) from exc
        except CloudApiError as exc:
            self._take_refusal(exc)
            raise
        with self._changed:
            self._is_opened = True
            self._changed.notify_all()
        return response

    def _take_refusal(self, refusal: CloudApiError) -> None:
        if not self._is_opened and is_refusal(refusal):
            self._refusal = refusal
            raise Aborted("The backend refuses the stream.") from refusal

    def _put(self, text: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting_chars < MOST_WAITING_CHARS or self._closed.is_set())
            self._frames.append(text)
            self._waiting_chars += len(text)
            self._changed.notify_all()

    def _is_over(self) -> bool:
        try:
            return self._upstream.ask_project(lambda client, scope: client.get_job(scope, self._job_id)).is_terminal
        except ArkorError as exc:
            logger.info("Could not ask for job %s: %s", self._job_id, exc)
            return False


def frame(event_id: str | None, body: Mapping[str, Any]) -> str:
    """Return an event as an event stream carries it.

    Args:
        event_id: its id; None where it has none.
        body: its JSON object, with its ``type``.
    """
    kind = str(body["type"])
    name = f"event: {kind}\n" if kind.isprintable() else ""
    number = "" if event_id is None else f"id: {event_id}\n"
    return f"{number}{name}data: {json_text(body)}\n\n"
