"""The history of a job: what is stored, each event once and in order, and then the end, whatever the server does."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from arkor import ArkorError, CloudApiError, NotFound, ReconnectExhausted, ReconnectPolicy, TrainingRecord
from arkor.client import history as module
from arkor.client.client import CloudApiClient
from arkor.protocol.jobs import Scope
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import END, PING, completed, frame, frames, log, long_plan, started
from tests.support.waiting import AT_ONCE_S, make_trainer

STORED = "/v1/jobs/*/events"
RUNNING = [started(), log(1, 2.5), log(2, 1.5)]
Read = Callable[..., "list[tuple[str | None, dict[str, Any]]]"]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconnect at once, and soon take silence for the end."""
    monkeypatch.setattr(module, "QUIET_S", 0.3)
    monkeypatch.setattr(module, "POLICY", ReconnectPolicy(base_delay=0.01, max_delay=0.02, max_attempts=2))


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a stream stays open for."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def read(cloud: Cloud) -> Iterator[Read]:
    """Read the history of the stand-in's only job."""
    cloud.know("secret", "org")
    cloud.jobs["job_1"] = {"id": "job_1", "name": "run", "status": "running", "config": {}}
    client = CloudApiClient(cloud.url, token="secret")
    yield lambda job_id="job_1", **options: list(client.job_events(Scope("org", "project"), job_id, **options))
    client.close()


def ids(events: list[tuple[str | None, dict[str, Any]]]) -> list[str | None]:
    """Return the ids of events."""
    return [event_id for event_id, _ in events]


def test_the_history_of_a_job_that_has_ended_is_all_of_it(cloud: Cloud, read: Read) -> None:
    """Each event as it travels, with its id; nothing else is asked but what the backend can do."""
    events = read()
    assert ids(events) == ["1", "2", "3", "4", "5", "6"]
    assert events[1][1]["loss"] == 2.5
    assert [item.path for item in cloud.requests] == ["/v1/capabilities", "/v1/jobs/job_1/events/stream"]


def test_a_backend_that_hands_out_stored_events_needs_no_stream(cloud: Cloud, read: Read) -> None:
    """Each answer is asked for behind the last one; following a job is the stream's business all the same."""
    cloud.features = {"stored-events"}
    pairs = [[str(number), {**log(number), "jobId": "job_1"}] for number in range(1, 6)]
    pages = [pairs[:2], pairs[2:4], pairs[4:]]
    answers = [Answer(body={"events": page, "more": page is not pages[-1]}) for page in pages]
    cloud.answer("GET", STORED, *answers)
    assert read() == [tuple(pair) for pair in pairs]
    asked = cloud.calls("GET", STORED)
    assert [item.query.get("after") for item in asked] == [None, "2", "4"]
    assert cloud.streams == []
    assert len(read(follow=True)) == 6
    assert len(cloud.streams) == 1


def test_stored_events_behind_one(cloud: Cloud, read: Read) -> None:
    """A job that told nothing since has none."""
    cloud.features = {"stored-events"}
    cloud.answer("GET", STORED, Answer(body={"events": [], "more": False}), Answer(status=404))
    assert read(after="4") == []
    assert cloud.calls("GET", STORED)[0].query["after"] == "4"
    with pytest.raises(NotFound):
        read()


def test_it_begins_behind_an_event(read: Read) -> None:
    """Any that the stream sent."""
    assert ids(read(after="4")) == ["5", "6"]


@pytest.mark.parametrize("piece", [None, 7])
def test_lost_connections_are_resumed(cloud: Cloud, read: Read, piece: int | None) -> None:
    """Each event comes once and in order, wherever the stream was cut."""
    cloud.plan = [*long_plan()]
    size = len(b"".join(frames(cloud.plan)))
    cloud.stream(*(Stream(cut=size // 4, piece=piece, chunked=True) for _ in range(3)))
    cloud.answer("GET", STREAM, Answer(status=503, body={"error": "busy"}))
    assert ids(read()) == [str(number) for number in range(1, 41)]
    assert len(cloud.streams) == 5


def test_a_ping_behind_the_events_of_a_running_job_ends_it(cloud: Cloud, read: Read, gate: threading.Event) -> None:
    """Soon, though the stream stays open."""
    cloud.stream(Stream(frames=[*frames(RUNNING), PING], gate=gate))
    began = time.monotonic()
    assert ids(read()) == ["1", "2", "3"]
    assert time.monotonic() - began < AT_ONCE_S


def test_a_ping_before_the_events_does_not_end_it(cloud: Cloud, read: Read, gate: threading.Event) -> None:
    """A server may ping to get its headers through, and read its database then."""
    cloud.stream(Stream(frames=[PING, *frames(RUNNING)], gate=gate, piece=len(PING)))
    assert ids(read()) == ["1", "2", "3"]


def test_silence_ends_it(cloud: Cloud, read: Read, gate: threading.Event) -> None:
    """Where the server does not ping."""
    cloud.stream(Stream(frames=frames(RUNNING), gate=gate))
    assert ids(read()) == ["1", "2", "3"]


def test_a_pause_before_the_next_connection_is_no_silence(
    cloud: Cloud, read: Read, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the server asks for: what follows is still to be had."""
    monkeypatch.setattr(module, "POLICY", ReconnectPolicy(max_delay=0.5))
    cloud.stream(Stream(frames=[b"retry: 9000\n\n", *frames(RUNNING)[:2]]))
    cloud.stream(Stream(frames=[*frames(RUNNING)[2:], PING], gate=gate))
    assert ids(read()) == ["1", "2", "3"]


def test_an_event_that_happened_since_ends_it(cloud: Cloud, read: Read, gate: threading.Event) -> None:
    """A busy job is never quiet; such events are not taken."""
    later = (datetime.now(timezone.utc) + timedelta(seconds=5)).isoformat()
    cloud.stream(Stream(frames=[*frames(RUNNING), frame(4, {**log(3), "timestamp": later})], gate=gate))
    assert ids(read()) == ["1", "2", "3"]


@pytest.mark.parametrize("stays", ["silent", "ahead"])
def test_a_job_that_is_over_is_read_to_its_end(cloud: Cloud, read: Read, gate: threading.Event, stays: str) -> None:
    """Also where its stream pauses, or a clock of the backend's is ahead."""
    cloud.settle("completed")
    later = (datetime.now(timezone.utc) + timedelta(seconds=60)).isoformat()
    rest = [frame(4, {**log(3), "timestamp": later}), frame(5, {**completed(), "timestamp": later}), END]
    held = frames(RUNNING) if stays == "silent" else [*frames(RUNNING), *rest]
    cloud.stream(Stream(frames=held, gate=gate), Stream(frames=rest))
    assert ids(read()) == ["1", "2", "3", "4", "5"]


def test_what_the_backend_refuses_is_not_tried_again(cloud: Cloud, read: Read) -> None:
    """There is no such job, or no such event: no second attempt would mend it."""
    with pytest.raises(NotFound):
        read("nobody")
    cloud.answer("GET", STREAM, Answer(status=400, body={"error": "Last-Event-ID must be an id"}))
    with pytest.raises(CloudApiError, match="must be an id"):
        read(after="x")
    assert len(cloud.streams) == 2


def test_a_backend_that_does_not_answer_ends_it(cloud: Cloud, read: Read) -> None:
    """A history that is cut short is never taken for the whole."""
    cloud.answer("GET", STREAM, *(Answer(status=503) for _ in range(3)))
    with pytest.raises(ReconnectExhausted):
        read()


def test_a_cancelled_job_of_the_cloud_ends_without_an_event(cloud: Cloud, read: Read) -> None:
    """Its stream says only that it is over."""
    cloud.settle("cancelled")
    cloud.stream(Stream(frames=[*frames(RUNNING), END]))
    assert ids(read()) == ["1", "2", "3"]


def test_a_result_says_what_made_its_adapter(routed_cloud: Cloud) -> None:
    """As the event that began the training does; None from a backend that does not say."""
    said = {"device": "cpu", "versions": {"torch": "2.13.0"}}
    routed_cloud.plan = [started(record=said), completed()]
    result = make_trainer(routed_cloud).wait()
    assert result.record == TrainingRecord(device="cpu", versions={"torch": "2.13.0"})
    with pytest.raises(ArkorError, match=r"use CloudApiClient\.job_record"):
        _ = pickle.loads(pickle.dumps(result)).record
