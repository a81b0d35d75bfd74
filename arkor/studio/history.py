"""What jobs have told so far, kept in memory so that a page which is opened again asks only for what is new.

Memory stays bounded: a job keeps at most ``LARGEST_CURVE`` log events (beyond, half as many points that show the same
curve) and the last ``LINES`` events, of ``MOST_LINE_CHARS`` in all; the jobs looked at last have ``MOST_JOBS`` places
and ``MOST_POINTS`` log events between them. With 64 bytes for a log event that is about 45 MiB. As many jobs have room
for a MiB of samples each.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from arkor.protocol import wire
from arkor.protocol.events import LAST_EVENT_TYPES
from arkor.protocol.metrics import COLUMNS, METRICS, plain_time
from arkor.serving.refusal import Refusal
from arkor.studio.curve import Curve
from arkor.studio.redact import json_text
from arkor.studio.samples import SampleLog

BATCH = 500
LINES = 500
LONGEST_LINE = 32 * 1024
LONGEST_TEXT = 2000
MOST_LINE_CHARS = 1024 * 1024
LARGEST_CURVE = 200_000
MOST_POINTS = 400_000
MOST_JOBS = 16
CSV_CHARS = 64 * 1024
TURN_S = 15.0  # how long one page waits for another that has the same job read

Events = Iterable[tuple[str | None, Mapping[str, Any]]]  # ids and bodies, as ``arkor.client.history`` yields them
Figures = Iterable[tuple[Sequence[Sequence[Any]], Sequence[tuple[str | None, Mapping[str, Any]]]]]


class JobHistory:
    """The events of one job so far.

    Attributes:
        lock: held by whoever changes the rest, or reports it.
        curve: the log events, or points that show them.
        total: how many log events there were.
        last_id: the id of the last event, where all events had one.
        ended: whether the last event was the job's last.
        can_go_on: whether what comes next can be asked for.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.curve = Curve()
        self.total = 0
        self.last_id: str | None = None
        self.ended = False
        self.can_go_on = True
        self._started: str | None = None  # the newest training.started as JSON, or null; a long job's is not in a line
        self._lines: deque[str | Mapping[str, Any]] = deque()
        self._line_chars = 0

    def extend(self, events: Events) -> None:
        """Take in the next events; what was taken in stays, also where reading them fails in the middle."""
        rest = iter(events)
        newest: deque[tuple[str | None, Mapping[str, Any]]] = deque(maxlen=LINES)
        try:
            while batch := list(itertools.islice(rest, BATCH)):
                self._take(batch)
                newest.extend(batch)
        finally:  # only now: of most events no line would be left
            for event_id, body in newest:
                self._add_line(event_id, body)

    def report(self, points: int) -> str:
        """Return what the page is told, as JSON.

        Args:
            points: how many of the curve at most.
        """
        curve = [self.curve.point(index) for index in self.curve.sampled(points)]
        lines = ", ".join(line if isinstance(line, str) else json_text(line) for line in self._lines)
        rest = {"total": self.total, "lastEventId": self.last_id, "ended": self.ended}
        told = f'"started": {self._started or "null"}, "lines": [{lines}]'
        return f'{{"points": {json_text(curve)}, {told}, {json_text(rest)[1:]}'

    def extend_figures(self, pages: Figures, first: Callable[[], Events]) -> None:
        """Take in the next events as their figures, and the last of them as they are; see ``Histories``."""
        for columns, last in pages:
            self.total += len(columns[0])
            self.curve.extend_columns(columns)
            self._thin()
            for event_id, body in last:
                self._add_line(event_id, body)
            self._reach(last)
        if self._started is None and len(self._lines) >= LINES:
            begin = list(itertools.islice(first(), 1))
            self._started = "null"
            self._note_start(begin)

    def _take(self, batch: Sequence[tuple[str | None, Mapping[str, Any]]]) -> None:
        logged = [body for _, body in batch if body["type"] == "training.log"]
        self.total += len(logged)
        self.curve.extend(logged)
        self._thin()
        self._reach(batch)

    def _thin(self) -> None:
        if len(self.curve) > LARGEST_CURVE:
            self.curve.thin(LARGEST_CURVE // 2)

    def _note_start(self, events: Events) -> None:
        for event_id, body in events:
            if body["type"] == "training.started":
                self._started = _line({**body, "id": event_id})

    def _reach(self, batch: Sequence[tuple[str | None, Mapping[str, Any]]]) -> None:
        if not batch:
            return
        self._note_start(batch)
        last_id, last = batch[-1]
        self.last_id = last_id or None
        self.can_go_on = bool(last_id)  # without an id nobody can ask for what comes after it
        self.ended = last["type"] in LAST_EVENT_TYPES

    def _add_line(self, event_id: str | None, body: Mapping[str, Any]) -> None:
        event = {**body, "id": event_id}
        line = event if _is_small(event) else _line(event)
        self._line_chars += len(line) if isinstance(line, str) else 0
        self._lines.append(line)
        while len(self._lines) > LINES or self._line_chars > MOST_LINE_CHARS:
            dropped = self._lines.popleft()
            self._line_chars -= len(dropped) if isinstance(dropped, str) else 0


def _is_small(body: Mapping[str, Any]) -> bool:
    """Whether an event may be kept as it is, which takes less time than to make text of it."""
    return len(body) <= 16 and all(
        len(value) <= 100 if type(value) is str else not isinstance(value, (Mapping, list)) for value in body.values()
    )


def _line(body: Mapping[str, Any]) -> str:
    """Return an event as JSON; of a huge one what is short."""
    text = json_text(body)
    if len(text) <= LONGEST_LINE:
        return text
    values = {key: value for key, value in body.items() if not isinstance(value, (Mapping, list))}
    cut = {key: f"{value[:LONGEST_TEXT]}…" if isinstance(value, str) else value for key, value in values.items()}
    return json_text(dict(list(cut.items())[:16]))


class Histories:
    """The histories of the jobs that were looked at last.

    Thread-safety: safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[Hashable, JobHistory] = OrderedDict()
        self._samples: OrderedDict[Hashable, SampleLog] = OrderedDict()

    def report(self, key: Hashable, points: int, after: Callable[[str | None], Events]) -> str:
        """Bring a job's history up to date, and return what the page is told of it, as JSON.

        Args:
            key: names the job, its backend and its project.
            points: how many points of the curve at most.
            after: reads the events behind an id, or all of them for None.

        Raises:
            Refusal: 503, another page has had the same job read for long; every wait keeps a thread of the server.
        """
        return self._report(key, points, lambda history: history.extend(after(history.last_id)))

    def report_figures(
        self, key: Hashable, points: int, after: Callable[[str | None], Figures], first: Callable[[], Events]
    ) -> str:
        """Do what ``report`` does where a backend hands out figures: in a fraction of the time.

        Args:
            key: see there.
            points: see there.
            after: reads the figures of the events behind an id, or of all of them for None.
            first: reads the events from the first one, which tells what the job trains on. It is asked once, where the
                last events that come with the figures do not reach back to it.
        """
        return self._report(key, points, lambda history: history.extend_figures(after(history.last_id), first))

    def report_samples(self, key: Hashable, after: Callable[[str | None], Events]) -> str:
        """Do what ``report`` does for the samples of a job. They are read apart: figures come without them.

        Args:
            key: see there.
            after: see there.
        """
        with self._lock:
            log = self._samples.pop(key, None) or SampleLog()
            self._samples[key] = log
            while len(self._samples) > MOST_JOBS:
                self._samples.popitem(last=False)
        with _turn(log.lock):
            if not log.ended:
                log.extend(after(log.last_id))
            return log.report()

    def _report(self, key: Hashable, points: int, update: Callable[[JobHistory], None]) -> str:
        history = self._history(key)
        with _turn(history.lock):
            if not history.ended:
                update(history)
            told = history.report(points)
        self._make_room()
        return told

    def has_ended(self, key: Hashable) -> bool:
        """Say whether all of a job's events are here."""
        with self._lock:
            history = self._jobs.get(key)
        return history is not None and history.ended

    def progress(self, key: Hashable) -> dict[str, Any]:
        """Return how far a job was when it was looked at last; nothing where it never was."""
        with self._lock:
            history = self._jobs.get(key)
        return {} if history is None else history.curve.last()

    def _history(self, key: Hashable) -> JobHistory:
        with self._lock:
            history = self._jobs.pop(key, None)
            if history is None or not history.can_go_on:
                history = JobHistory()
            self._jobs[key] = history  # the last one is the one looked at last
            return history

    def _make_room(self) -> None:
        with self._lock:
            while len(self._jobs) > 1 and (
                len(self._jobs) > MOST_JOBS or sum(len(job.curve) for job in self._jobs.values()) > MOST_POINTS
            ):
                self._jobs.popitem(last=False)


@contextlib.contextmanager
def _turn(lock: threading.Lock) -> Iterator[None]:
    """Hold a job's lock, unless another page has it read for long."""
    if not lock.acquire(timeout=TURN_S):
        raise Refusal(503, "The job's events are still being read for another page.", headers={"Retry-After": "5"})
    try:
        yield
    finally:
        lock.release()


def csv_lines(events: Events) -> Iterator[str]:
    """Yield the log events as CSV, a header first, in pieces of many lines."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\r\n")  # RFC 4180
    table.writerow(COLUMNS)
    for _, body in events:
        if body["type"] == "training.log":
            figures = (wire.number(body.get(metric.wire_name)) for metric in METRICS)
            table.writerow([wire.whole_number(body.get("step")) or 0, *figures, plain_time(body.get("timestamp"))])
        if text.tell() >= CSV_CHARS:
            yield text.getvalue()
            text.seek(0)
            text.truncate()
    yield text.getvalue()
