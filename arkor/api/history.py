"""What a job has told so far: the events that are stored, then no more.

A backend that can hands them out thousands at a time. Any other has the same stream as for following a job, with the
same rules for lost connections. It ends by itself where the job has ended. Where the job goes on, it is left when the
backend has sent all that it had.

Protocol: docs/protocol.md, "The event stream" (Reading what is stored), "Reader rules", "Stored events".
"""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Generator, Iterator, Sequence
from datetime import timezone
from typing import TYPE_CHECKING, Any

import requests

from arkor.api.abort import Deadline
from arkor.api.position import EVENT_ID, StreamPosition
from arkor.api.stream import RETRIED_STATUSES, EventStream, ReconnectPolicy
from arkor.errors import CloudApiError, ConfigError, ConnectionFailed, WaitTimeout
from arkor.events import LAST_EVENT_TYPES
from arkor.jobs import Scope

if TYPE_CHECKING:
    from arkor.api.client import CloudApiClient

QUIET_S = 1.5
QUIET_AFTER_PING_S = 0.2
StoredEvent = tuple["str | None", dict[str, Any]]
POLICY = ReconnectPolicy(base_delay=0.2, max_delay=5.0, max_attempts=5)


def history(
    client: CloudApiClient, scope: Scope, job_id: str, *, after: str | None = None, follow: bool = False
) -> Iterator[StoredEvent]:
    """Yield every event that is stored of a job, the oldest first, then end.

    Of a job that has ended these are all, up to its last. Of one that goes on, those up to now. A lost connection is
    resumed.

    Args:
        client: the backend.
        scope: the project the job belongs to.
        job_id: the job's whole id.
        after: begin behind the event of this id; None for the first one.
        follow: go on with what happens, up to the job's end; a lost connection is then resumed however often it takes.

    Returns:
        Each event's id (None where the backend gave it none) and its JSON object, as it travels, with its ``type``.

    Raises:
        CloudApiError: the backend refuses: NotFound where there is no such job, 400 for an ``after`` it never sent.
        ConfigError: ``after`` cannot be an event's id.
        ReconnectExhausted: the stream failed six times in a row.
        ConnectionFailed: a backend that needs no stream for this did not answer.
        LocalBackendError: this user's own backend is gone.
    """
    if after is not None and not EVENT_ID.fullmatch(after):
        raise ConfigError("after", f"must be the id of an event, not {after!r}")
    return _events(client, scope, job_id, after, follow=follow)


def _events(
    client: CloudApiClient, scope: Scope, job_id: str, after: str | None, *, follow: bool
) -> Iterator[StoredEvent]:
    if follow or "stored-events" not in client.features:
        yield from _Reading(client, scope, job_id, after, follow=follow).events()
        return
    more = True
    while more:
        with _noticing_the_end(client):
            found, more = client.stored_events(scope, job_id, after=after)
        yield from found
        after = found[-1][0] if found else after


def figures(
    client: CloudApiClient, scope: Scope, job_id: str, *, after: str | None = None
) -> Iterator[tuple[list[Sequence[Any]], list[StoredEvent]]]:
    """Yield the figures of a job's log, and the last events, of a backend that has ``stored-events``.

    Args:
        client: the backend.
        scope: the project the job belongs to.
        job_id: the job's whole id.
        after: begin behind the event of this id; None for the first one.

    Returns:
        The first two of what ``CloudApiClient.stored_figures`` returns, thousands of events at a time.

    Raises:
        As ``history``.
    """
    more = True
    while more:
        with _noticing_the_end(client):
            columns, last, more = client.stored_figures(scope, job_id, after=after)
        yield columns, list(last)
        after = last[-1][0] if last else after


@contextlib.contextmanager
def _noticing_the_end(client: CloudApiClient) -> Iterator[None]:
    try:
        yield
    except ConnectionFailed:
        client.check_alive()
        raise


class _Quiet(Deadline):
    """A deadline that each event puts off; without a connection there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.timeout_s = QUIET_S

    def put_off(self, seconds: float | None) -> None:
        self._at = None if seconds is None else time.monotonic() + seconds


class _Refused(Exception):
    """The backend refused the stream, and would again."""

    def __init__(self, error: CloudApiError) -> None:
        self.error = error


class _Reading:
    """One reading of a job's history. Used once, by one thread."""

    def __init__(self, client: CloudApiClient, scope: Scope, job_id: str, after: str | None, *, follow: bool) -> None:
        self._client = client
        self._scope = scope
        self._job_id = job_id
        self._position = StreamPosition(after)
        self._policy = ReconnectPolicy() if follow else POLICY
        self._quiet = None if follow else _Quiet()  # None: all is read up to the job's end
        self._asked_at = ""  # by the backend's clock, to the second, in the form of an event's time

    def events(self) -> Iterator[StoredEvent]:
        """Yield what is stored."""
        try:
            is_all = yield from self._read()
            if not is_all and self._is_over():
                self._quiet = None
                yield from self._read()
        except _Refused as refused:
            raise refused.error from None

    def _read(self) -> Generator[StoredEvent, None, bool]:
        """Yield what comes, and return (as a generator does) whether that is all for ever, or all for now."""
        position = self._position
        try:
            with contextlib.closing(iter(self._stream())) as bodies:
                for body in bodies:
                    if self._quiet is not None and self._is_new(body):
                        return False
                    position.delivered = position.offered
                    yield position.offered[0], body
                    if body["type"] in LAST_EVENT_TYPES:
                        return True
                    self._put_off(QUIET_S)
        except WaitTimeout:
            return False
        return True

    def _stream(self) -> EventStream:
        return EventStream(
            self._job_id,
            self._open,
            policy=self._policy,
            abort_event=None,
            deadline=self._quiet or Deadline(),
            position=self._position,
            is_over=self._is_over,
            check_alive=self._client.check_alive,
            on_ping=lambda: self._put_off(QUIET_AFTER_PING_S),
            on_loss=lambda: self._put_off(None),
        )

    def _open(self, last_event_id: str | None, timeout_s: tuple[float, float]) -> requests.Response:
        try:
            response = self._client.open_events(
                self._scope, self._job_id, last_event_id=last_event_id, timeout_s=timeout_s
            )
        except CloudApiError as exc:
            if exc.status < 500 and exc.status not in RETRIED_STATUSES:
                raise _Refused(exc) from exc
            raise
        self._asked_at = self._asked_at or _second(response.headers.get("Date", ""))
        self._put_off(QUIET_S)
        return response

    def _put_off(self, seconds: float | None) -> None:
        if self._quiet is not None:
            self._quiet.put_off(seconds)

    def _is_new(self, body: dict[str, Any]) -> bool:
        """Whether an event happened after the backend was asked: a busy job is never quiet."""
        at = body.get("timestamp")
        return isinstance(at, str) and at[:19] > self._asked_at != ""

    def _is_over(self) -> bool:
        return self._client.get_job(self._scope, self._job_id).is_terminal


def _second(date: str) -> str:
    """Return an HTTP date as the first 19 characters of an event's time; empty where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).astimezone(timezone.utc).isoformat()[:19]
    except ValueError:
        return ""
