"""The event stream: resumed, kept alive, ended, capped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from arkor.client.client import CloudApiClient
from arkor.protocol.jobs import Scope
from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually


def test_a_stream_resumes_behind_the_last_id(client: Client, config: dict[str, Any]) -> None:
    """Whatever the id, what follows is exactly the rest; the events that are stored are the same."""
    job_id = client.submit("complete:3", config).json()["job"]["id"]
    all_frames = client.events(job_id)
    assert len(all_frames) == 5
    stored = client.get(f"/v1/jobs/{job_id}/events").json()
    assert stored == {"events": [[str(frame.id), frame.data] for frame in all_frames], "more": False}
    for last in range(6):
        assert client.open_stream(job_id, last_event_id=last).events() == all_frames[last:]


def test_a_stream_that_has_nothing_left_ends_at_once(client: Client, config: dict[str, Any]) -> None:
    """Behind the last event there is only the end."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    last = client.events(job_id)[-1].id
    assert [frame.event for frame in client.open_stream(job_id, last_event_id=last)] == ["end"]


def test_an_id_that_was_never_sent_is_400(client: Client, config: dict[str, Any]) -> None:
    """Rather than a stream that starts anywhere."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    for value in ("x", "-1", "1.5", "٣", "9" * 30):
        answer = client.get(f"/v1/jobs/{job_id}/events/stream", headers={"Last-Event-ID": value.encode()})
        assert (answer.status_code, list(answer.json())) == (400, ["error"]), value
    client.events(job_id)


def test_a_silent_stream_is_kept_alive(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Pings have no id; events come through at once, between them."""
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    stream = client.open_stream(job_id)
    assert stream.response.headers["Content-Type"].startswith("text/event-stream")
    assert stream.response.headers["Cache-Control"] == "no-cache"
    assert stream.response.headers["X-Accel-Buffering"] == "no"
    stream.until("training.started")
    pings = [frame for _, frame in zip(range(3), stream, strict=False)]
    assert [(frame.event, frame.data, frame.id) for frame in pings] == [("ping", {}, None)] * 3
    shared.allow(job_id, 1)
    assert [frame.event for frame in stream.events()] == ["training.log", "training.completed"]


def test_a_ping_follows_what_is_stored(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """At once, so that a reader of the past knows that this is all, and its client can leave."""
    backend = start(ping=60.0)
    client = backend.client()
    job_id = client.submit("gated:2", config).json()["job"]["id"]
    backend.allow(job_id, 1)
    client.open_stream(job_id).until("training.log")
    frames = client.open_stream(job_id).until("ping")
    assert [frame.event for frame in frames] == ["training.started", "training.log", "ping"]
    reader = CloudApiClient(backend.url, token=client.token)
    stored = reader.job_events(Scope(client.scope["orgSlug"], client.scope["projectSlug"]), job_id)
    assert [event_id for event_id, _ in stored] == ["1", "2"]
    reader.close()
    backend.allow(job_id, 2)


def test_events_come_while_the_job_runs(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Each step is seen before the next one is allowed to happen."""
    job_id = client.submit("gated:3", config).json()["job"]["id"]
    streams = [client.open_stream(job_id) for _ in range(3)]
    for step in (1, 2, 3):
        shared.allow(job_id, step)
        for stream in streams:
            assert stream.until("training.log")[-1].data["step"] == step
    for stream in streams:
        assert [frame.event for frame in stream.events()] == ["training.completed"]


def test_streams_are_capped_and_a_reader_that_left_makes_room(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """Beyond the cap a 503 says when to come back; other requests are answered all the while."""
    backend = start(stream_cap=2)
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    path = f"/v1/jobs/{job_id}/events/stream"
    streams = [client.open_stream(job_id) for _ in range(2)]
    refused = client.get(path)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "2 event streams" in refused.json()["error"]
    assert client.job(job_id)["id"] == job_id
    streams[0].until("training.started")
    streams[0].close()

    def reopened() -> bool:
        with client.get(path, stream=True) as answer:
            return answer.status_code == 200

    eventually(reopened, "the closed stream makes room")
    backend.allow(job_id, 1)
    assert streams[1].events()[-1].event == "training.completed"


def test_events_do_not_wait_for_the_next_ping(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Storing one wakes the stream, and so does the backend's stop."""
    backend = start(ping=60.0)  # longer than any reader here waits
    client = backend.client()
    job_id = client.submit("gated:2", config).json()["job"]["id"]
    stream = client.open_stream(job_id)
    stream.until("training.started")
    backend.allow(job_id, 1)
    stream.until("training.log")
    assert backend.stop() == 0
    assert list(stream) == []
