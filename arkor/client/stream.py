"""A job's event stream that survives disconnects.

One connection is read until it ends; tenacity decides whether there is another, and when. What was delivered is
remembered by its id, so that the next connection, and the next stream, go on after it.

Protocol: docs/protocol.md, "Reader rules".
"""

from __future__ import annotations

import contextlib
import enum
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import attrs
import requests
import tenacity

from arkor.client.position import StreamPosition
from arkor.errors import (
    ArkorError,
    CloudApiError,
    ConnectionFailed,
    ReconnectExhausted,
    StreamError,
)
from arkor.http.abort import AbortScope, Deadline
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.sse import Frame, FrameReader
from arkor.http.translate import translated
from arkor.options import known_options
from arkor.protocol.checks import real, whole

READ_BYTES = 32 * 1024
JITTER = 0.25
BOUNDED_RETRY_S = 120.0
EMPTY_BEFORE_ASKING = 2
TELLING_FAILURE = 4  # in a row; about ten seconds into an outage somebody may wonder
FINAL_STATUSES = frozenset({401, 403, 410, 426})

_LONGEST_S = 10**6  # a socket takes no more than 24 days
_MOST_ATTEMPTS = 10**9
_RETRIED_STATUSES = frozenset({408, 429})
_NO_EVENTS = frozenset({"ping", "end"})
_decode = json.JSONDecoder().decode

logger = logging.getLogger(__name__)


@known_options
@attrs.frozen(kw_only=True)
class ReconnectPolicy:
    """When a lost event stream is opened again.

    Args:
        base_delay: seconds before the first new attempt, 0 to 1e6; doubled with each failure in a row.
        max_delay: seconds that no delay exceeds, 0 to 1e6.
        max_attempts: failures in a row that are borne, 0 to 1e9; None for any number.
        idle_timeout: seconds of silence, not even a keep-alive, after which a connection counts as dead, above 0, at
            most 1e6.
    """

    base_delay: float = attrs.field(default=1.0, validator=real(0, _LONGEST_S))
    max_delay: float = attrs.field(default=60.0, validator=real(0, _LONGEST_S))
    max_attempts: int | None = attrs.field(default=None, validator=whole(0, _MOST_ATTEMPTS))
    idle_timeout: float = attrs.field(default=45.0, validator=real(0, _LONGEST_S, above=True))

    def delay(self, failures: int, base_delay: float | None = None) -> float:
        """Return the seconds to wait after a number of failures in a row.

        Args:
            failures: how many; 0 for a stream that ended cleanly after progress, which waits the base delay exactly.
            base_delay: the server's own ``retry:``, where it gave one, in seconds.
        """
        base = self.base_delay if base_delay is None else base_delay
        if failures == 0:
            return min(base, self.max_delay)
        doubled = base * 2.0 ** min(failures - 1, 64)
        return min(doubled * random.uniform(1 - JITTER, 1 + JITTER), self.max_delay)


@attrs.frozen
class _Lost:
    """How a connection ended: by a failure or a gap, or cleanly after progress (no failure)."""

    failure: ArkorError | None = None
    retry_after_s: float | None = None


class _End(enum.Enum):
    """The server said that there is nothing more."""

    CLOSED = enum.auto()


OpenStream = Callable[[str | None, tuple[float, float]], requests.Response]


class EventStream:
    """The events of one job as JSON objects, from one on, across connections.

    Args:
        job_id: the job, for the log.
        open_stream: opens a connection: (last event id or None, (connect, read) timeouts in seconds) to an answer.
        policy: when to reconnect.
        abort_event: ends reading at once when set, or None.
        deadline: when reading must be over.
        position: where to go on; whoever is done with an event says so there.
        is_over: asked after a failure that may mean that nothing more will come: whether the job has ended. A request
            of it that fails says no.
        check_alive: called when nobody answered; raises where nobody will any more.
        on_ping: called with each keep-alive, or None.
        on_loss: called when a connection has ended that was not the last, or None.

    Thread-safety: none; one thread reads.
    """

    def __init__(
        self,
        job_id: str,
        open_stream: OpenStream,
        *,
        policy: ReconnectPolicy,
        abort_event: threading.Event | None,
        deadline: Deadline,
        position: StreamPosition,
        is_over: Callable[[], bool],
        check_alive: Callable[[], None],
        on_ping: Callable[[], None] | None = None,
        on_loss: Callable[[], None] | None = None,
    ) -> None:
        self._job_id = job_id
        self._open_stream = open_stream
        self._position = position
        self._policy = policy
        self._abort_event = abort_event
        self._deadline = deadline
        self._is_over = is_over
        self._check_alive = check_alive
        self._on_ping = on_ping
        self._on_loss = on_loss
        self._progress = self._is_debugging = False
        self._empty = 0
        self._was_over = False
        self._failures = 0
        self._server_delay_s: float | None = None
        self._refused_since: float | None = None

    def __iter__(self) -> Generator[dict[str, Any], None, None]:
        """Yield the events in order, each with its ``type``, until the server closes the stream for good.

        Raises:
            Aborted, WaitTimeout: the abort event was set, or the deadline passed.
            ReconnectExhausted: too many failures in a row; its cause is the last of them.
            CloudApiError: 401, 403, 410 or 426, or any other refusal that lasted two minutes.
            StreamError: a frame was too large.
        """
        for attempt in self._retrying():
            outcome = yield from self._read_connection()
            attempt.retry_state.set_result(outcome)
            if isinstance(outcome, _Lost):
                if self._on_loss is not None:
                    self._on_loss()
                if self._is_the_end(outcome.failure):
                    return

    def _retrying(self) -> tenacity.Retrying:
        return tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda outcome: outcome is not _End.CLOSED),
            wait=self._wait,
            stop=lambda _: self._is_exhausted(),
            retry_error_callback=self._give_up,
            sleep=tenacity.sleep_using_event(self._abort_event or threading.Event()),
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        lost = _outcome(state)
        if lost.retry_after_s is not None:
            delay = min(lost.retry_after_s, self._policy.max_delay)
        else:
            delay = self._policy.delay(self._failures, self._server_delay_s)
        cause = lost.failure or "the stream ended"
        level = logging.WARNING if self._failures == TELLING_FAILURE else logging.INFO
        logger.log(level, "Job %s: attempt %d in %.2f s: %s", self._job_id, state.attempt_number + 1, delay, cause)
        return self._deadline.clip(delay)

    def _is_exhausted(self) -> bool:
        return self._policy.max_attempts is not None and self._failures > self._policy.max_attempts

    def _give_up(self, state: tenacity.RetryCallState) -> None:
        raise ReconnectExhausted(self._failures) from _outcome(state).failure

    def _read_connection(self) -> Generator[dict[str, Any], None, _Lost | _End]:
        """Read one connection to its end, and return (as a generator does) how it ended."""
        self._progress = gave_event = False
        self._is_debugging = logger.isEnabledFor(logging.DEBUG)
        try:
            with (
                AbortScope(self._abort_event, self._deadline) as scope,
                contextlib.closing(self._connect(scope)) as response,
            ):
                for frame in self._frames(scope, response):
                    event = self._take(frame)
                    if isinstance(event, (_End, _Lost)):
                        return event
                    if event is not None:
                        gave_event = True
                        yield event
                        scope.check()
        except (ConnectionFailed, CloudApiError) as exc:
            self._fail(exc)
            return _Lost(exc, getattr(exc, "retry_after", None))
        self._empty = 0 if gave_event else self._empty + 1
        if self._progress:
            return _Lost()
        self._failures += 1
        return _Lost(StreamError("The event stream ended before it gave an event."))

    def _connect(self, scope: AbortScope) -> requests.Response:
        after = self._position.last_id
        logger.info("Job %s: opening the event stream after event %s", self._job_id, after or "none")
        self._position.connect()
        response = scope.opened(lambda: self._open_stream(after, (CONNECT_TIMEOUT_S, self._policy.idle_timeout)))
        kind, coding = response.headers.get("Content-Type", ""), response.headers.get("Content-Encoding", "identity")
        if "text/event-stream" not in kind or coding.strip().lower() != "identity":
            response.close()
            what = f"a compressed stream ({coding})" if "text/event-stream" in kind else kind or "no type"
            raise ConnectionFailed(f"The backend answered with {what} in place of a plain event stream.")
        if not hasattr(response.raw, "read1"):
            response.close()
            raise StreamError("Event streams need urllib3 2.3 or newer. Upgrade it with: pip install 'urllib3>=2.3'")
        return response

    def _frames(self, scope: AbortScope, response: requests.Response) -> Iterator[Frame]:
        reader, read = FrameReader(), response.raw.read1
        with scope.noticing_the_end(), translated(response.url.partition("?")[0]):
            while True:
                scope.limit_reads(self._policy.idle_timeout)
                data = read(READ_BYTES)
                scope.check()  # before anything is parsed: a TLS stream that was shut down can give ciphertext
                if not data:
                    return
                self._refused_since = None
                yield from reader.feed(data)
                del data  # not held while the next read waits

    def _take(self, frame: Frame) -> dict[str, Any] | _End | _Lost | None:
        """Return what a frame says: an event that is new, the end, that others are missing before it, or nothing."""
        if self._is_debugging:
            logger.debug("Job %s: frame %s %s %.200s", self._job_id, frame.id, frame.event, frame.data)
        if frame.retry_ms is not None:
            self._server_delay_s = frame.retry_ms / 1000
        event = None if frame.event in _NO_EVENTS else _json_object(frame.data)
        if event is None:
            self._position.pass_over(frame.id)
            if frame.event == "ping" and self._on_ping is not None:
                self._on_ping()
            return _End.CLOSED if frame.event == "end" else None
        self._progress = True
        self._failures = 0
        if self._position.is_gap_before(frame.id):
            self._empty = 0
            return _Lost(StreamError(f"Events are missing between {self._position.last_id} and {frame.id}."))
        if not self._position.offer(frame.id):
            return None
        if event.get("type") is None:
            event["type"] = frame.event
        return event

    def _fail(self, failure: ConnectionFailed | CloudApiError) -> None:
        """Count a failure, or raise one that another attempt cannot mend."""
        if isinstance(failure, CloudApiError) and failure.status in FINAL_STATUSES:
            raise failure
        if isinstance(failure, CloudApiError) and self._refused_since is None:
            self._refused_since = time.monotonic()
        self._failures += 1

    def _is_the_end(self, failure: ArkorError | None) -> bool:
        """After a connection, say whether nothing more will come; raise a refusal that has lasted too long.

        A stream that ends without an event may have ended by accident, and the job may be over only since then. So the
        job's word counts for the connections that are opened after it; to take it at once would lose their events.
        """
        if isinstance(failure, ConnectionFailed):
            self._check_alive()
        elif failure is None or isinstance(failure, StreamError):
            if self._was_over and self._empty:
                return True
            if self._empty >= EMPTY_BEFORE_ASKING or self._is_exhausted():
                self._was_over = self._has_ended()
            return self._was_over and self._is_exhausted()
        elif self._refused_for_s() >= BOUNDED_RETRY_S:
            if self._has_ended():
                return True
            if is_refusal(failure):
                raise failure
            self._refused_since = None  # busy or broken for long, but the job goes on: ask again after as long
        return False

    def _has_ended(self) -> bool:
        """Ask for the job: whether it has ended, so far as the backend tells."""
        try:
            return self._is_over()
        except (ConnectionFailed, CloudApiError) as exc:
            logger.info("Job %s could not be asked for: %s", self._job_id, exc)
            return False

    def _refused_for_s(self) -> float:
        return 0.0 if self._refused_since is None else time.monotonic() - self._refused_since


def is_refusal(failure: ArkorError) -> bool:
    """Say whether a backend refuses a request for what it is: the same request again would be refused again."""
    return isinstance(failure, CloudApiError) and failure.status < 500 and failure.status not in _RETRIED_STATUSES


def _json_object(data: str) -> dict[str, Any] | None:
    """Return the object that a frame carries; None where it is anything else, which is passed over."""
    try:
        body = _decode(data)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _outcome(state: tenacity.RetryCallState) -> _Lost:
    assert state.outcome is not None  # tenacity asks after an attempt
    lost: _Lost = state.outcome.result()
    return lost
