"""The open event streams of all jobs: read once a job, made once, written by one thread.

However many watch a job, its new events are read from the database once and become frames once. A watcher that is
behind (it has just come, or is slow) is served from the database in pages until it has caught up.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

import threading
from collections import Counter, deque

from arkor.backend.activity import Activity
from arkor.backend.store.events import Events, JobDeleted, StoredEvent
from arkor.serving.pump import Piece, Pump
from arkor.serving.takeover import Taker

PING = b"event: ping\ndata: {}\n\n"
END = b"event: end\ndata: {}\n\n"
_PAGE = 1000
_MOST_KEPT = 1000  # frames of a job that are kept for watchers who are a little behind
_MOST_KEPT_BYTES = 1024 * 1024


class NoRoom(Exception):
    """Every stream is taken, and whoever asks has its share of them."""


class EventStreams:
    """Opens event streams and shares them out. Thread-safe.

    Args:
        events: where events are stored.
        activity: an open stream counts as use of the backend.
        cap: streams open at the same time. When all are taken, one more takes the place of one of the identity that
            holds the most, if that is more than its own.
        ping_s: seconds between two signs of life on a silent stream.
    """

    def __init__(self, events: Events, activity: Activity, *, cap: int, ping_s: float) -> None:
        self._events = events
        self._activity = activity
        self._cap = cap
        self._lock = threading.Lock()
        self._jobs: dict[str, _JobFrames] = {}
        self._watchers: dict[_Watcher, None] = {}  # in the order in which they came
        self._pump = Pump(ping_s)

    def open(self, job_id: str, after: int, owner: str) -> Taker:
        """Open a stream.

        Args:
            job_id: the job.
            after: the id of the event to begin behind; 0 for all.
            owner: the identity that asks.

        Returns:
            What takes the connection over, and writes the stream to it.

        Raises:
            NoRoom: every stream is taken, and nobody holds more of them than ``owner``.
            JobDeleted: there is no such job.
        """
        with self._lock:
            self._make_room(owner)
            frames = self._jobs.get(job_id)
            if frames is None:
                frames = self._jobs[job_id] = _JobFrames(self._events, job_id)
            watcher = _Watcher(self, frames, after, owner)
            frames.watchers += 1
            self._watchers[watcher] = None
        self._activity.begin()
        return lambda taken: self.forget(watcher) if taken is None else self._pump.add(taken, watcher)

    def publish(self, job_id: str) -> None:
        """Send what is new to the watchers of a job. Call it after the transaction that stored the events."""
        frames = self._jobs.get(job_id)
        if frames is not None:
            frames.is_stale = True
            self._pump.wake(job_id)

    def publish_all(self) -> None:
        """Send what may be new to the watchers of all jobs."""
        with self._lock:
            job_ids = list(self._jobs)
        for job_id in job_ids:
            self.publish(job_id)

    def close(self) -> None:
        """End every stream without an end event: its reader comes back."""
        self._pump.close()

    def forget(self, watcher: _Watcher) -> None:
        """Take note that a stream was closed."""
        with self._lock:
            if self._watchers.pop(watcher, self) is self:
                return
            watcher.frames.watchers -= 1
            if not watcher.frames.watchers:
                del self._jobs[watcher.frames.job_id]
        self._activity.end()

    def _make_room(self, owner: str) -> None:
        held = Counter(watcher.owner for watcher in self._watchers if not watcher.is_dismissed)
        if sum(held.values()) < self._cap:
            return
        largest, most = max(held.items(), key=lambda item: item[1], default=(owner, 0))
        if most <= held[owner] + 1:
            raise NoRoom
        loser = next(one for one in reversed(self._watchers) if one.owner == largest and not one.is_dismissed)
        loser.is_dismissed = True
        self._pump.wake(loser.key)


class _JobFrames:
    """The last frames of a job, shared by its watchers. Used on the pump's thread alone, but for ``is_stale``.

    Attributes:
        job_id: the job.
        watchers: how many there are.
        is_stale: whether events may have been stored that are not here.
    """

    def __init__(self, events: Events, job_id: str) -> None:
        self.job_id = job_id
        self.watchers = 0
        self.is_stale = True
        self.is_gone = False
        self.ended = False
        self.reached = self.start = events.last_id(job_id)  # frames from ``start`` (not included) to ``reached``
        self._events = events
        self._frames: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._joined: tuple[int, int, bytes] = (0, 0, b"")

    def update(self) -> None:
        """Read what was stored since, and make frames of it; once for all watchers."""
        if not self.is_stale:
            return
        self.is_stale = False  # before the read: an event that is stored meanwhile sets it again
        try:
            found, self.ended = self._events.after(self.job_id, self.reached, _PAGE)
        except JobDeleted:
            self.is_gone = True
            return
        except Exception:  # this watcher's stream ends with it; the others still need the events
            self.is_stale = True
            raise
        for event in found:
            frame = frame_of(event)
            self._frames.append((event.id, frame))
            self._kept_bytes += len(frame)
            self.reached = event.id
        if len(found) == _PAGE:
            self.is_stale = True
        while len(self._frames) > _MOST_KEPT or (self._kept_bytes > _MOST_KEPT_BYTES and len(self._frames) > 1):
            self.start, frame = self._frames.popleft()
            self._kept_bytes -= len(frame)

    def behind(self, after: int) -> bytes:
        """Return the frames behind an id that is not before ``start``."""
        if after >= self.reached:
            return b""
        if self._joined[:2] != (after, self.reached):
            frames = b"".join(frame for event_id, frame in self._frames if event_id > after)
            self._joined = (after, self.reached, frames)
        return self._joined[2]

    def page(self, after: int) -> tuple[int, bytes]:
        """Return a page of frames out of the database, and the id that they reach."""
        found, _ = self._events.after(self.job_id, after, _PAGE)
        return (found[-1].id if found else self.start), b"".join(map(frame_of, found))


class _Watcher:
    """One reader of a job's events, as the pump's stream."""

    def __init__(self, streams: EventStreams, frames: _JobFrames, after: int, owner: str) -> None:
        self.frames = frames
        self.owner = owner
        self.is_dismissed = False
        self._streams = streams
        self._after = after
        self._has_caught_up = False

    @property
    def key(self) -> str:
        return self.frames.job_id

    def next(self) -> Piece:
        frames = self.frames
        frames.update()
        if frames.is_gone or self.is_dismissed:
            return Piece(over=True)  # without an end: a reader that comes back is told
        if self._after < frames.start:
            try:
                self._after, data = frames.page(self._after)
            except JobDeleted:
                return Piece(over=True)
            return Piece(data, more=True)
        data = frames.behind(self._after)
        self._after = max(self._after, frames.reached)
        if frames.ended:
            return Piece(data + END, over=True)
        if not data and not self._has_caught_up:
            self._has_caught_up = True
            data = PING  # the client gets its headers at once, and learns that this is all so far
        return Piece(data, more=frames.is_stale or not self._has_caught_up)

    def keep_alive(self) -> bytes:
        return PING

    def closed(self) -> None:
        self._streams.forget(self)


def frame_of(event: StoredEvent) -> bytes:
    """Return the frame that sends an event."""
    return f"id: {event.id}\nevent: {event.type}\ndata: {event.data}\n\n".encode()
