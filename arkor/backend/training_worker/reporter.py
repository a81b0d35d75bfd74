"""Telling the backend what happens, from a thread of its own.

Events are sent in order, kept until the backend has acknowledged them, and sent again while it is away. With nothing
to tell, an empty report every second says that the worker lives, and its answer says whether to stop.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

import contextlib
import datetime
import http.client
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import attrs

from arkor.backend.training_worker.connection import ReportConnection
from arkor.protocol import wire
from arkor.protocol.json_rules import check_json

log = logging.getLogger("arkor.worker")

_MAX_EVENTS_A_REPORT = 200
_DEEPEST_VALUE = 20  # of values that are not JSON: one may contain itself


class Listener(Protocol):
    """What a reporter tells the rest of the worker; each is called once, from the sender's thread."""

    def cancelled(self) -> None:
        """The user cancelled the job."""

    def superseded(self) -> None:
        """Another attempt has taken this one's place: nothing may be touched any more."""

    def orphaned(self) -> None:
        """The backend has not answered for too long; nothing more is sent."""


@attrs.frozen(kw_only=True)
class Timing:
    """How patient a reporter is, in seconds.

    Attributes:
        heartbeat_s: between two reports without an event.
        retry_s: between two tries while the backend is away.
        give_up_s: without any answer, after which the backend counts as gone.
    """

    heartbeat_s: float = 0.5  # a cancel is heard with the answer
    retry_s: float = 0.5
    give_up_s: float = 30.0


class Reporter:
    """Sends one attempt's events. ``send`` and ``flush`` are thread-safe; whoever made it closes it.

    Args:
        url: the attempt's report address.
        token: the attempt's token.
        attempt: its number.
        listener: whom to tell what the backend says.
        timing: how patient to be.

    Attributes:
        threads: on how many threads the backend wants the worker to compute; None where it has not said.
    """

    def __init__(self, url: str, token: str, attempt: int, listener: Listener, timing: Timing | None = None) -> None:
        self._connection = ReportConnection(url, token, attempt)
        self._listener = listener
        self._timing = timing or Timing()
        self._changed = threading.Condition()
        self._pending: deque[dict[str, Any]] = deque()
        self._last_seq = 0
        self.threads: int | None = None
        self._closing = self._gone = self._told_cancelled = False
        self._thread = threading.Thread(target=self._run, name="arkor-reporter", daemon=True)

    def start(self) -> None:
        """Start the sender; its first report leaves at once."""
        self._thread.start()

    def send(self, kind: str, **fields: Any) -> None:
        """Queue an event and return at once.

        Args:
            kind: its type, ``training.log`` and so on.
            fields: its fields in wire names. Numbers that JSON cannot hold become null, and other values that it
                cannot hold become numbers or texts.
        """
        timestamp = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        sendable = _sendable(kind, fields)
        with self._changed:
            self._last_seq += 1
            event = {"seq": self._last_seq, "type": kind, "timestamp": timestamp.replace("+00:00", "Z")}
            self._pending.append({**event, **sendable})
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until every event is acknowledged.

        Args:
            timeout_s: seconds to wait; None waits until the backend counts as gone.

        Returns:
            Whether all are.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._pending or self._gone, timeout_s)
            return not self._pending

    def close(self) -> None:
        """Stop sending; what was not flushed is lost. A report under way is not waited for longer than a second."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=1.0)

    def _run(self) -> None:
        last_answer = time.monotonic()
        while not self._closing and not self._gone:
            try:
                answered = self._report()
            except Exception:  # without this thread the worker would train on, and nobody would hear of it
                log.exception("A report could not be sent; trying again")
                answered = False
            if answered:
                last_answer = time.monotonic()
            elif time.monotonic() - last_answer > self._timing.give_up_s and not self._gone:
                log.error("No answer from the backend for %.0f s: giving up", self._timing.give_up_s)
                self._leave(self._listener.orphaned)
            self._pause(answered)
        self._connection.close()

    def _pause(self, answered: bool) -> None:
        with self._changed:
            if answered:
                self._changed.wait_for(lambda: self._pending or self._closing, self._timing.heartbeat_s)
            else:
                self._changed.wait_for(lambda: self._closing or self._gone, self._timing.retry_s)

    def _report(self) -> bool:
        """Send what is pending once; return whether the backend took it."""
        with self._changed:
            events = [self._pending[place] for place in range(min(len(self._pending), _MAX_EVENTS_A_REPORT))]
        try:
            status, text = self._connection.post(events)
            body = json.loads(text) if status == 200 else {}
        except (OSError, http.client.HTTPException, ValueError) as exc:
            log.warning("The backend did not take a report (%s); trying again", type(exc).__name__)
            return False
        if status == 409:
            self._leave(self._listener.superseded)
            return False
        if status != 200:
            log.warning("The backend refused a report with status %d: %.300s", status, text)
            return False
        self._acknowledge(len(events))
        if isinstance(body, Mapping):
            self._obey(body)
        return True

    def _obey(self, answer: Mapping[str, Any]) -> None:
        threads = answer.get("threads")
        if isinstance(threads, int) and threads > 0:
            self.threads = threads
        servers = answer.get("servers")
        if isinstance(servers, list):
            self._connection.know([url for url in servers if isinstance(url, str)])
        if answer.get("cancel") and not self._told_cancelled:
            self._told_cancelled = True
            self._listener.cancelled()

    def _acknowledge(self, count: int) -> None:
        with self._changed:
            for _ in range(count):
                self._pending.popleft()
            self._changed.notify_all()

    def _leave(self, tell: Callable[[], None]) -> None:
        with self._changed:
            self._gone = True
            self._changed.notify_all()
        tell()


def _sendable(kind: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's fields as they travel, and say in the log if one of them is not JSON."""
    try:
        plain: dict[str, Any] = wire.finite(fields)
        json.dumps(plain, allow_nan=False)
        check_json([[plain]])  # a report holds a list of events
    except (TypeError, ValueError, RecursionError) as exc:
        log.warning("A field of %s is not JSON (%s); it is sent as a number or a text", kind, exc)
        return {name: _plain(value, _DEEPEST_VALUE) for name, value in fields.items()}
    return plain


def _plain(value: Any, levels: int) -> Any:
    """Return a value as JSON, at most so many levels deep: NumPy's and torch's numbers as numbers, others as texts."""
    if levels > 0 and isinstance(value, Mapping):
        return {_whole(str(key)): _plain(item, levels - 1) for key, item in value.items()}
    if levels > 0 and isinstance(value, (list, tuple)):
        return [_plain(item, levels - 1) for item in value]
    with contextlib.suppress(AttributeError, TypeError, ValueError, RuntimeError):  # no single number
        value = value.item()
    if value is None or isinstance(value, (int, float)):
        return wire.finite(value)
    return _whole(value if isinstance(value, str) else f"{value!r:.200}")


def _whole(text: str) -> str:
    """Return a text with a question mark for each half character."""
    return text.encode("utf-8", "replace").decode()
