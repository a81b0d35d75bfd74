"""The open event streams: shared frames, watchers that are behind, and how the streams are shared out."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from arkor.backend import event_streams
from arkor.backend.activity import Activity
from arkor.backend.event_streams import EventStreams, NoRoom
from arkor.backend.store.events import JobDeleted, StoredEvent
from arkor.serving.takeover import TakenConnection
from tests.support.eventually import eventually

TIMEOUT_S = 10.0
OPEN: list[socket.socket] = []


class Log:
    """Stored events of jobs, as ``Events`` reads them; counts the reads."""

    def __init__(self) -> None:
        self.jobs: dict[str, int] = {"job": 0}
        self.ended: set[str] = set()
        self.reads = 0

    def last_id(self, job_id: str) -> int:
        if job_id not in self.jobs:
            raise JobDeleted
        return self.jobs[job_id]

    def after(self, job_id: str, event_id: int, limit: int) -> tuple[list[StoredEvent], bool]:
        self.reads += 1
        last = self.last_id(job_id)
        found = [StoredEvent(number, "training.log", "{}") for number in range(event_id + 1, last + 1)][:limit]
        reached = found[-1].id if found else event_id
        return found, job_id in self.ended and reached >= last


class Reader:
    """The other end of a stream."""

    def __init__(self, streams: EventStreams, after: int = 0, owner: str = "org", job_id: str = "job") -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(TIMEOUT_S)
        OPEN.append(self.socket)
        self.received = b""
        streams.open(job_id, after, owner)(TakenConnection(theirs, b"", is_chunked=False))

    def until(self, what: bytes) -> list[int]:
        """Read until something has come; return the ids so far."""
        while what not in self.received:
            data = self.socket.recv(65536)
            assert data, self.received[-200:]
            self.received += data
        return self.ids

    def rest(self) -> list[int]:
        """Read to the end; return the ids."""
        while data := self.socket.recv(65536):
            self.received += data
        return self.ids

    @property
    def ids(self) -> list[int]:
        return [int(found) for found in re.findall(rb"id: (\d+)\n", self.received)]


@pytest.fixture(autouse=True)
def _closed_sockets() -> Iterator[None]:
    """Leave no socket behind."""
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def log() -> Log:
    """One job without events."""
    return Log()


Open = Callable[..., EventStreams]


@pytest.fixture
def open_streams(log: Log) -> Iterator[Open]:
    """Make streams over the log."""
    made: list[EventStreams] = []

    def make(cap: int = 100) -> EventStreams:
        made.append(EventStreams(log, Activity(), cap=cap, ping_s=60.0))  # type: ignore[arg-type]  # a stand-in
        return made[-1]

    yield make
    for one in made:
        one.close()


def add(log: Log, streams: EventStreams, count: int) -> None:
    """Store events, and say so."""
    log.jobs["job"] += count
    streams.publish("job")


def test_an_event_that_is_stored_while_others_are_read_is_sent(
    log: Log, open_streams: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its news comes after the read that does not have it, and before that read is taken in; it may be the last one."""
    streams, read = open_streams(), log.after

    def after(job_id: str, event_id: int, limit: int) -> tuple[list[StoredEvent], bool]:
        found = read(job_id, event_id, limit)
        if log.jobs["job"] == 1:
            log.ended.add("job")
            add(log, streams, 1)
        return found

    reader = Reader(streams)
    reader.until(event_streams.PING)
    monkeypatch.setattr(log, "after", after)
    add(log, streams, 1)
    assert reader.until(event_streams.END) == [1, 2]


def test_a_read_that_failed_for_one_reader_is_done_again_for_the_others(
    log: Log, open_streams: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one whose stream met the failure is let go, and comes back."""
    streams, read, failures = open_streams(), log.after, [OSError("the disk")]

    def after(job_id: str, event_id: int, limit: int) -> tuple[list[StoredEvent], bool]:
        if failures:
            raise failures.pop()
        return read(job_id, event_id, limit)

    readers = [Reader(streams), Reader(streams)]
    for reader in readers:
        reader.until(event_streams.PING)
    monkeypatch.setattr(log, "after", after)
    log.ended.add("job")
    add(log, streams, 1)
    assert sorted(reader.rest() for reader in readers) == [[], [1]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    before=st.integers(0, 50),
    readers=st.lists(st.integers(0, 60), min_size=1, max_size=5),
    batches=st.lists(st.integers(0, 20), max_size=5),
    page=st.integers(1, 8),
    kept=st.integers(1, 10),
)
def test_every_reader_gets_the_rest_once_and_in_order(
    before: int, readers: list[int], batches: list[int], page: int, kept: int
) -> None:
    """Whatever was stored before it came, whatever the pages, however few frames are kept."""
    log, activity = Log(), Activity()
    log.jobs["job"] = before
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(event_streams, "_PAGE", page)
        patches.setattr(event_streams, "_MOST_KEPT", kept)
        streams = EventStreams(log, activity, cap=100, ping_s=60.0)  # type: ignore[arg-type]  # a stand-in
        open_ = [Reader(streams, after) for after in readers]
        for count in batches:
            add(log, streams, count)
        log.ended.add("job")
        streams.publish("job")
        last = log.jobs["job"]
        for after, reader in zip(readers, open_, strict=True):
            assert reader.rest() == list(range(after + 1, last + 1))
            assert reader.received.endswith(b"event: end\ndata: {}\n\n")
        streams.close()
    assert activity.idle_s() >= 0
    eventually(lambda: not activity._open, "no stream counts any more")


def test_many_watchers_cost_one_read_an_event(log: Log, open_streams: Open) -> None:
    """The frames are made once for all."""
    streams = open_streams()
    readers = [Reader(streams) for _ in range(50)]
    for reader in readers:
        reader.until(b"ping")
    before = log.reads
    add(log, streams, 1)
    for reader in readers:
        assert reader.until(b"id: 1\n") == [1]
    assert log.reads - before <= 2


def test_the_first_ping_follows_what_is_stored(log: Log, open_streams: Open) -> None:
    """At once: that is all so far."""
    log.jobs["job"] = 3
    assert Reader(open_streams()).until(b"ping") == [1, 2, 3]


def test_a_deleted_job_has_no_stream(log: Log, open_streams: Open) -> None:
    """Not a new one, and those that are open end without an end."""
    streams = open_streams()
    with pytest.raises(JobDeleted):
        streams.open("job_gone", 0, "org")
    reader = Reader(streams)
    reader.until(b"ping")
    del log.jobs["job"]
    streams.publish("job")
    assert reader.rest() == []
    assert b"event: end" not in reader.received


def test_a_full_house_makes_room_for_somebody_with_fewer(open_streams: Open) -> None:
    """The last stream of the identity that holds the most ends; nobody gets more than its share that way."""
    streams = open_streams(cap=4)
    greedy = [Reader(streams, owner="greedy") for _ in range(4)]
    first = Reader(streams, owner="modest")
    assert greedy[3].rest() == []
    second = Reader(streams, owner="modest")
    assert greedy[2].rest() == []
    for owner in ("modest", "greedy"):
        with pytest.raises(NoRoom):
            streams.open("job", 0, owner)
    for reader in (*greedy[:2], first, second):
        reader.until(b"ping")


def test_a_client_that_left_makes_room(open_streams: Open) -> None:
    """At once."""
    streams = open_streams(cap=1)
    reader = Reader(streams)
    reader.until(b"ping")
    with pytest.raises(NoRoom):
        streams.open("job", 0, "org")
    reader.socket.close()
    eventually(lambda: not streams._watchers, "the slot is free")
    Reader(streams).until(b"ping")
