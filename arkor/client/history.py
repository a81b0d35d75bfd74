"""The client's calls for what a job has reported so far: its stored events, its figures, its metrics.

A backend with ``stored-events`` returns them thousands at a time. Any other backend has only the event stream, with the
same rules for lost connections as for following a job. The stream of a job that has ended ends by itself; that of a
running job is left once the backend has sent all that it had.

Protocol: docs/protocol.md, "The event stream" (Reading what is stored), "Reader rules", "Stored events".
"""

from __future__ import annotations

import contextlib
import email.utils
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from datetime import timezone
from typing import Any

import requests

from arkor.client.jobs import JobCalls
from arkor.client.position import EVENT_ID, StreamPosition
from arkor.client.stream import EventStream, ReconnectPolicy, is_refusal
from arkor.errors import CloudApiError, ConfigError, ConnectionFailed, StreamError, WaitTimeout
from arkor.http.abort import Deadline
from arkor.http.transport import path
from arkor.protocol import wire
from arkor.protocol.events import (
    LAST_EVENT_TYPES,
    Event,
    SampleMadeEvent,
    TrainingCompletedEvent,
    TrainingLogEvent,
    TrainingStartedEvent,
    parse_event,
)
from arkor.protocol.job_metrics import Metrics
from arkor.protocol.jobs import Scope
from arkor.protocol.metrics import UNNAMED_WIRE_COLUMNS, WIRE_COLUMNS
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord
from arkor.protocol.samples import SAMPLE_NAMES, Sample, Samples

QUIET_S = 1.5
QUIET_AFTER_PING_S = 0.2
StoredEvent = tuple["str | None", dict[str, Any]]
POLICY = ReconnectPolicy(base_delay=0.2, max_delay=5.0, max_attempts=5)


class HistoryCalls(JobCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def job_events(
        self, scope: Scope, job_id: str, *, after: str | None = None, follow: bool = False
    ) -> Iterator[StoredEvent]:
        """Yield the stored events of a job, oldest first.

        A job that has ended yields all its events, up to the last. A running job yields its events up to now. A lost
        connection is resumed.

        Args:
            scope: the project the job belongs to.
            job_id: the job's whole id.
            after: start after the event with this id; None starts at the first event.
            follow: go on with new events until the job ends; a lost connection is then resumed without limit.

        Returns:
            Each event's id (None if the backend gave it none) and its JSON object, as it travels, with its ``type``.

        Raises:
            CloudApiError: the backend refuses: NotFound if there is no such job, 400 for an ``after`` it never sent.
            ConfigError: ``after`` cannot be an event's id.
            ReconnectExhausted: the stream failed six times in a row.
            ConnectionFailed: a backend with ``stored-events`` did not answer.
            LocalBackendError: this user's own backend is gone.

        Example:
            ``for event_id, event in client.job_events(scope, job.id): print(event["type"])``
        """
        if after is not None and not EVENT_ID.fullmatch(after):
            raise ConfigError("after", f"must be the id of an event, not {after!r}")
        return self._events(scope, job_id, after, follow=follow)

    def _events(self, scope: Scope, job_id: str, after: str | None, *, follow: bool) -> Iterator[StoredEvent]:
        if follow or "stored-events" not in self.features:
            yield from _Reading(self, scope, job_id, after, follow=follow).events()
            return
        more = True
        while more:
            with self._noticing_the_end():
                found, more = self.stored_events(scope, job_id, after=after)
            yield from found
            after = found[-1][0] if found else after

    def job_figures(
        self, scope: Scope, job_id: str, *, after: str | None = None
    ) -> Iterator[tuple[list[Sequence[Any]], list[StoredEvent]]]:
        """Yield the figures of a job's log and its last events; needs ``stored-events``.

        Args:
            scope: the project the job belongs to.
            job_id: the job's whole id.
            after: start after the event with this id; None starts at the first event.

        Returns:
            The first two values that ``stored_figures`` returns, thousands of events at a time.

        Raises:
            As ``job_events``.
        """
        more = True
        while more:
            with self._noticing_the_end():
                columns, last, more = self.stored_figures(scope, job_id, after=after)
            yield columns, list(last)
            after = last[-1][0] if last else after

    def job_metrics(self, scope: Scope, job_id: str) -> Metrics:
        """Return the history of a job's figures: loss, evaluation loss, learning rate and their kin.

        Of a job that goes on, it is the history so far.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Returns:
            A list of ``TrainingLogEvent``, oldest first, with ``to_pandas()``; one entry for each log event as it came.

        Raises:
            NotFound: there is no such job.
            ReconnectExhausted: the stream failed six times in a row.
        """
        return Metrics(event for event in self._parsed(scope, job_id) if isinstance(event, TrainingLogEvent))

    def job_samples(self, scope: Scope, job_id: str) -> Samples:
        """Return what the model of a job answered while it was trained, see ``sample_prompts`` of ``Trainer``.

        Of a job that goes on, these are the samples so far.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Returns:
            A list of ``Sample``, ordered by step, then by prompt; empty if the job asked nothing.

        Raises:
            NotFound: there is no such job.
            ReconnectExhausted: the stream failed six times in a row.

        Example:
            ``client.job_samples(scope, job.id).to_pandas()``
        """
        return Samples(
            Sample(**{name: getattr(event, name) for name in SAMPLE_NAMES})
            for event in self._parsed(scope, job_id)
            if isinstance(event, SampleMadeEvent)
        )

    def _parsed(self, scope: Scope, job_id: str) -> Iterator[Event | None]:
        """Yield a job's events as values; None for what is no event."""
        return (parse_event(body, event_id) for event_id, body in self.job_events(scope, job_id))

    def job_receipt(self, scope: Scope, job_id: str) -> Receipt | None:
        """Return what became of a job's rows; None if nothing says it yet.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.

        Raises:
            NotFound: there is no such job.
            ReconnectExhausted: the stream failed six times in a row.
        """
        started = self.job_started(scope, job_id)
        return None if started is None else started.receipt

    def job_record(self, scope: Scope, job_id: str) -> TrainingRecord | None:
        """Return what a job's adapters are made from; None if nothing says it yet.

        Args and Raises: as of ``job_receipt``.
        """
        started = self.job_started(scope, job_id)
        return None if started is None else started.record

    def job_started(self, scope: Scope, job_id: str) -> TrainingStartedEvent | None:
        """Return the newest event that says that a job's training began; None if it has not begun.

        Args and Raises: as of ``job_receipt``.
        """
        return self.job_milestones(scope, job_id)[0]

    def job_milestones(
        self, scope: Scope, job_id: str
    ) -> tuple[TrainingStartedEvent | None, TrainingCompletedEvent | None]:
        """Return the newest event that says that a job's training began, and the one that says that it completed.

        Args and Raises: as of ``job_receipt``.

        Returns:
            (the first, the second); each None if there is no such event.
        """
        started, completed = None, None
        for event_id, body in self.job_events(scope, job_id):
            event = parse_event(body, event_id)
            started = event if isinstance(event, TrainingStartedEvent) else started
            completed = event if isinstance(event, TrainingCompletedEvent) else completed
        return started, completed

    def stored_events(
        self, scope: Scope, job_id: str, *, after: str | None = None
    ) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
        """Return events of a job that are stored, the oldest first, as many as the backend gives at once.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.
            after: begin behind the event of this id; None for the first one.

        Returns:
            (each event's id and its JSON object, as it travels; whether there are more behind these).

        Raises:
            UnsupportedByBackend: the backend tells events in its stream alone.
            NotFound: there is no such job.
        """
        return _stored_events(self._stored(scope, job_id, after))

    def stored_figures(
        self, scope: Scope, job_id: str, *, after: str | None = None
    ) -> tuple[list[Sequence[Any]], list[tuple[str, dict[str, Any]]], bool]:
        """Return the figures of a job's log, as ``stored_events`` returns its events, in a fraction of the time.

        Returns:
            (a column for each of ``arkor.protocol.metrics.COLUMNS``: the values of the log events as they travel, None
            for an absent one and for a column that the backend does not know; the last 500 of the events that these are
            from, each with its id; whether more follow).

        Raises:
            UnsupportedByBackend: the backend has its events in its stream alone.
            NotFound: there is no such job.
            StreamError: a row of the answer has another number of values than there are columns.
        """
        named = "figure-columns" in self.features
        options = {"columns": ",".join(WIRE_COLUMNS)} if named else {}
        body = self._stored(scope, job_id, after, figures="true", **options)
        found = _columns(body.get("figures"), WIRE_COLUMNS if named else UNNAMED_WIRE_COLUMNS)
        return found, *_stored_events(body)

    def _stored(self, scope: Scope, job_id: str, after: str | None, **options: str) -> dict[str, Any]:
        self.require("stored-events", "reading stored events")
        query = {**scope.to_query(), **({"after": after} if after else {}), **options}
        return wire.json_object(self._transport.call("GET", path("v1", "jobs", job_id, "events"), params=query))

    @contextlib.contextmanager
    def _noticing_the_end(self) -> Iterator[None]:
        try:
            yield
        except ConnectionFailed:
            self.check_alive()
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

    def __init__(self, client: JobCalls, scope: Scope, job_id: str, after: str | None, *, follow: bool) -> None:
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
            if is_refusal(exc):
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


def _stored_events(body: Mapping[str, Any]) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
    """Return ids and events, and whether there are more; what is no event is passed over, as in a stream."""
    pairs = body.get("events")
    found = [
        (wire.text(pair[0]), pair[1])
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict) and pair[1].get("type")
    ]
    return found, bool(found) and body.get("more") is True


def _columns(rows: Any, names: Sequence[str]) -> list[Sequence[Any]]:
    """Return a column for each of ``WIRE_COLUMNS``, of rows on the wire that have the columns ``names``."""
    found = rows if isinstance(rows, list) else []
    odd = [row for row in found if type(row) is not list or len(row) != len(names)]
    if odd:
        raise StreamError(f"The backend sent a row of figures that has not {len(names)} values: {odd[0]!r:.200}")
    given = dict(zip(names, zip(*found, strict=True), strict=True)) if found else {}
    absent = (None,) * len(found)
    return [given.get(name, absent) for name in WIRE_COLUMNS]
