"""A job's events on their way to a page, over Studio's real server: nothing is lost, and nothing stays behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
import requests

pytest.importorskip("plotly")

from tests.support.backend import in_parallel
from tests.support.cloud import Cloud
from tests.support.contract import Answer, Stream
from tests.support.events import END, PING, PLAN, TIMESTAMP, completed, frame, frames, log, sample_made, started
from tests.support.eventually import eventually
from tests.support.studio_server import TIMEOUT_S, Served, served

EVENTS = "/api/jobs/job_1/events"


@pytest.fixture
def job(routed_cloud: Cloud) -> Cloud:
    """A stand-in with a job that runs."""
    job = {"id": "job_1", "name": "n", "status": "running", "createdAt": TIMESTAMP, "config": {}}
    routed_cloud.jobs["job_1"] = job
    return routed_cloud


@pytest.fixture
def page(job: Cloud) -> Iterator[Served]:
    """Studio's server, which pings often."""
    with served(ping_s=0.3) as one:
        yield one


def threads_of_ours() -> list[str]:
    """Return the threads that serve streams."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("arkor")]


def open_slots(page: Served) -> int:
    """Return how many event streams may still be opened."""
    return page.studio.stream_slots._value


def test_events_come_through_with_id_name_and_data(job: Cloud, page: Served) -> None:
    """To the end, which is told; no token of a data set is."""
    secret = {"datasetSource": {"type": "blob", "url": "u", "token": "SECRET"}}
    plan = [started(config=secret), log(1, float("nan"), note="größer 😀"), *PLAN[2:]]
    job.stream(Stream(frames=[*frames(plan), END]))
    events = page.events("job_1")
    assert events.response.headers["Content-Type"].startswith("text/event-stream")
    assert events.response.headers["Cache-Control"] == "no-store"
    got = events.until("end")
    assert [(number, name) for number, name, _ in got[:-1]] == [
        (str(number), event["type"]) for number, event in enumerate(plan, 1)
    ]
    assert got[0][2]["metadata"] == {"config": {"datasetSource": {"type": "blob", "url": "u"}}}
    assert got[1][2] == {**plan[1], "loss": None, "jobId": "job_1", "timestamp": TIMESTAMP}
    assert list(events) == []


@pytest.mark.parametrize("header", [True, False], ids=["Last-Event-ID", "after"])
def test_a_page_goes_on_behind_the_event_it_had_last(job: Cloud, page: Served, header: bool) -> None:
    """By the header that a browser sends when it comes again, or in the address when it comes first."""
    where = {"headers": {"Last-Event-ID": "4"}, "params": {"after": "1"}} if header else {"params": {"after": "4"}}
    assert [number for number, _, _ in page.events("job_1", **where).until("end")] == ["5", "6", None]
    assert job.streams[0].headers["last-event-id"] == "4"


def test_a_page_gets_samples_as_they_came(job: Cloud, page: Served) -> None:
    """Studio changes nothing in them."""
    made = sample_made(0, 1, row=3, prompt=[{"role": "user", "content": "Q"}], expected="A", exact=False)
    job.stream(Stream(frames=[*frames([PLAN[0], made, PLAN[-1]]), END]))
    got = page.events("job_1").until("end")
    assert [name for _, name, _ in got] == ["training.started", "sample.made", "training.completed", "end"]
    assert got[1][2] == {**made, "jobId": "job_1", "timestamp": TIMESTAMP}


def test_an_id_that_no_event_has_is_refused(job: Cloud, page: Served) -> None:
    """At once, and nothing is asked of the backend."""
    with requests.get(f"{page.url}{EVENTS}?token={page.studio.token}&after=4%0A5", timeout=TIMEOUT_S) as answer:
        assert (answer.status_code, answer.json()["error"]) == (
            400,
            "last_event_id: must be the id of an event, not '4\\n5'",
        )
    assert job.streams == []


def test_an_event_source_may_have_the_token_in_its_address(page: Served) -> None:
    """It has no headers."""
    for token, status in ((page.studio.token, 200), ("guessed", 403)):
        with requests.get(f"{page.url}{EVENTS}?token={token}", stream=True, timeout=TIMEOUT_S) as answer:
            assert answer.status_code == status


def test_a_lost_backend_is_found_again_and_nothing_is_missed(job: Cloud, page: Served) -> None:
    """Cut in the middle of an event, then away for a while, then repeating itself: each event comes once."""
    whole = frames(PLAN)
    job.stream(Stream(frames=whole, cut=len(b"".join(whole[:3])) + 20, reset=True))
    job.stream(Stream(frames=[*whole, END]))
    assert [number for number, _, _ in page.events("job_1").until("end")] == ["1", "2", "3", "4", "5", "6", None]
    assert job.streams[1].headers["last-event-id"] == "3"


def test_a_silent_backend_does_not_make_the_stream_silent(job: Cloud, page: Served) -> None:
    """Pings go on, and the first comes with the headers."""
    gate = threading.Event()
    job.stream(Stream(frames=[frame(1, PLAN[0])], gate=gate))
    events = page.events("job_1")
    events.until("training.started")
    for _ in range(2):
        events.until("ping")
    gate.set()
    assert events.until("end")[-1][1] == "end"


@pytest.mark.parametrize(("status", "text"), [(404, "No such job"), (400, "Not an id"), (403, "Not yours")])
def test_a_refusal_is_a_status(job: Cloud, page: Served, status: int, text: str) -> None:
    """Not a stream that never says anything; and it takes no slot."""
    headers = {"Deprecation": "true"}
    job.answer("GET", "/v1/jobs/*/events/stream", Answer(status=status, body={"error": text}, headers=headers))
    answer = page.get(EVENTS)
    assert (answer.status_code, answer.json()) == (status, {"error": text})
    assert answer.headers["Deprecation"] == "true"
    assert open_slots(page) == 64
    eventually(lambda: not threads_of_ours(), "the reading thread has left")


def test_a_page_that_has_left_is_noticed_while_nothing_happens(job: Cloud, page: Served) -> None:
    """Its slot is free, its threads are gone and the backend's connection is closed, within a second or two."""
    page.studio.ping_s = 60.0  # no write of ours finds it out
    job.stream(*[Stream(frames=[PING], gate=threading.Event()) for _ in range(50)])
    streams = [page.events("job_1") for _ in range(50)]
    begun = time.monotonic()
    assert page.get("/api/jobs").status_code == 200
    assert time.monotonic() - begun < 2
    assert open_slots(page) == 14
    for stream in streams:
        stream.close()
    eventually(lambda: open_slots(page) == 64, "every slot is free")
    eventually(lambda: not threads_of_ours(), "every thread has left")


def test_streams_are_capped(job: Cloud, page: Served) -> None:
    """One more is told when to come again; one that ends makes room."""
    page.studio.stream_slots = threading.Semaphore(1)
    job.stream(Stream(frames=[PING], gate=threading.Event()))
    first = page.events("job_1")
    refused = page.get(EVENTS)
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "5")
    assert "close other tabs" in refused.json()["error"]
    first.close()
    eventually(lambda: open_slots(page) == 1, "the slot is free")
    assert page.events("job_1").until("end")


def test_a_browser_that_reads_slowly_holds_up_itself_alone(job: Cloud, page: Served) -> None:
    """Its events wait at the backend, not in Studio's memory; it gets them all."""
    count = 20_000
    plan = [*(log(step, 1.0, note="x" * 1000) for step in range(count)), completed()]
    job.stream(Stream(frames=[*frames(plan), END]))
    events = page.events("job_1")
    assert page.get("/api/jobs").status_code == 200
    assert len(events.until("end")) == count + 2


def test_streams_end_with_studio(job: Cloud) -> None:
    """No thread of theirs holds the process."""
    job.stream(Stream(frames=[PING], gate=threading.Event()))
    with served() as page:
        events = page.events("job_1")
    assert [name for _, name, _ in events if name != "ping"] == []
    eventually(lambda: not threads_of_ours(), "every thread has left")


def test_a_file_that_is_cut_is_not_taken_for_whole(job: Cloud, page: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Neither an artifact, which has a size, nor a table, which has none; the terminal gets a line, not a traceback."""
    job.features = {"artifacts"}
    job.answer("GET", "/v1/jobs/*/artifacts/*", Answer(body=b"tar" * 100_000, cut=200_000))
    with pytest.raises(requests.RequestException):
        page.get(f"/download/{page.studio.links.make('job_1', 'adapter')}")
    rows = frames([log(step, 1.0) for step in range(10_000)])
    refusal = Answer(status=403, body={"error": "Not yours any more"})
    job.stream(Stream(frames=rows))
    job.answer("GET", "/v1/jobs/*/events/stream", refusal)
    with pytest.raises(requests.RequestException):
        page.get("/api/jobs/job_1/metrics.csv")
    assert [
        record.getMessage().partition(" was cut")[0] for record in caplog.records if record.levelname != "DEBUG"
    ] == [
        "The download of adapter of job job_1",
        "The table of job job_1",
    ]


def test_many_requests_at_once_are_answered_in_peace(
    job: Cloud, page: Served, caplog: pytest.LogCaptureFixture
) -> None:
    """Twelve tabs that wake up together: every one gets its answer, and the terminal stays quiet."""
    answers = in_parallel(40, lambda: page.get("/api/jobs").status_code)
    assert set(answers) == {200}
    assert [record for record in caplog.records if record.levelname not in {"DEBUG", "INFO"}] == []
