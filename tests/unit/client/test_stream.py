"""The event stream across connections: which delays, which failures, what is asked and what is remembered."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import requests
import tenacity
import urllib3
from hypothesis import given, strategies as st

from arkor.client import stream
from arkor.client.position import StreamPosition
from arkor.client.stream import JITTER, EventStream, ReconnectPolicy
from arkor.errors import (
    CloudApiError,
    ConnectionFailed,
    LocalBackendError,
    NotFound,
    ReconnectExhausted,
    ServerError,
    StreamError,
    WaitTimeout,
    error_for_status,
)
from arkor.http.abort import Deadline

END = b"event: end\ndata: {}\n\n"


def log(step: int) -> bytes:
    """Return a line of the training log as it travels, numbered by its step."""
    return f'id: {step}\nevent: training.log\ndata: {{"step": {step}}}\n\n'.encode()


EVENT = log(1)
DOWN = ServerError(503, "down")
CUT = urllib3.exceptions.ProtocolError("cut")


class Body:
    """The raw body of a scripted answer: reads, and then the end or an error."""

    def __init__(self, *reads: bytes | Exception) -> None:
        self._reads = list(reads)
        self.closed = False

    def read1(self, _: int) -> bytes:
        """Return the next read."""
        item = self._reads.pop(0) if self._reads else b""
        if isinstance(item, Exception):
            raise item
        return item


class Connections:
    """Scripted connections: each is an error, or the reads of a body; afterwards the stream is closed for good."""

    def __init__(
        self, *scripted: Exception | Sequence[bytes | Exception], content_type: str = "text/event-stream"
    ) -> None:
        self._scripted = list(scripted)
        self._content_type = content_type
        self.asked: list[str | None] = []
        self.bodies: list[Body] = []

    def open(self, last_event_id: str | None, _: tuple[float, float]) -> requests.Response:
        """Open the next one."""
        self.asked.append(last_event_id)
        item = self._scripted.pop(0) if self._scripted else [END]
        if isinstance(item, Exception):
            raise item
        response = requests.Response()
        response.status_code, response.url = 200, "http://backend.example.com/stream?orgSlug=o"
        response.headers["Content-Type"] = self._content_type
        self.bodies.append(Body(*item))
        response.raw = self.bodies[-1]
        response.close = lambda body=self.bodies[-1]: setattr(body, "closed", True)  # type: ignore[method-assign, misc]
        return response


class Clock:
    """The stream's clock, which stands still but for the delays between connections."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("arkor.client.stream.time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr(tenacity, "sleep_using_event", lambda _: self._pass)

    def _pass(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def delays(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between connections, which are noted, not waited."""
    noted: list[float] = []
    monkeypatch.setattr(tenacity, "sleep_using_event", lambda _: noted.append)
    return noted


def read(
    connections: Connections,
    policy: ReconnectPolicy | None = None,
    *,
    after: str | None = None,
    deadline: Deadline | None = None,
    is_over: Callable[[], bool] = lambda: False,
    check_alive: Callable[[], None] = lambda: None,
) -> list[dict[str, Any]]:
    """Read scripted connections to the end, taking delivery of each event."""
    events, place = [], StreamPosition(after)
    stream = EventStream(
        "job_1",
        connections.open,
        policy=policy or ReconnectPolicy(),
        abort_event=None,
        deadline=deadline or Deadline(),
        position=place,
        is_over=is_over,
        check_alive=check_alive,
    )
    for event in stream:
        events.append(event)
        place.delivered = place.offered
    return events


# Delays


@given(st.integers(1, 200), st.floats(0, 100), st.floats(0, 100))
def test_a_delay_is_doubled_scattered_and_then_clamped(failures: int, base: float, longest: float) -> None:
    """Base times 2^n with n = 0 for the first, 25 % to either side, never above the maximum."""
    delay = ReconnectPolicy(base_delay=base, max_delay=longest).delay(failures)
    doubled = base * 2.0 ** min(failures - 1, 64)
    assert min(doubled * (1 - JITTER), longest) - 1e-9 <= delay <= min(doubled * (1 + JITTER), longest)


def test_delays_scatter_to_both_sides() -> None:
    """Many clients do not come back in the same moment."""
    delays = [ReconnectPolicy(base_delay=10).delay(1) for _ in range(200)]
    assert min(delays) < 8.5
    assert max(delays) > 11.5


@pytest.mark.parametrize(("base", "longest", "delay"), [(1, 60, 1), (7, 60, 7), (0, 60, 0), (90, 60, 60)])
def test_after_progress_the_delay_is_the_base_exactly(base: float, longest: float, delay: float) -> None:
    """Nothing failed: there is nothing to scatter."""
    assert ReconnectPolicy(base_delay=base, max_delay=longest).delay(0) == delay


def test_the_defaults_are_the_documented_ones() -> None:
    """One second, a minute, no limit, 45 seconds of silence."""
    policy = ReconnectPolicy()
    assert (policy.base_delay, policy.max_delay, policy.max_attempts, policy.idle_timeout) == (1.0, 60.0, None, 45.0)


def test_failures_in_a_row_double_the_delay_and_progress_resets_it(delays: list[float]) -> None:
    """A clean end after progress costs the base delay, and the next failure is a first one again."""
    read(Connections(DOWN, DOWN, DOWN, [EVENT], DOWN))
    wanted = [1, 2, 4, 1, 1]
    assert len(delays) == len(wanted)
    assert delays[3] == 1
    for delay, base in zip(delays, wanted, strict=True):
        assert base * (1 - JITTER) <= delay <= base * (1 + JITTER)


@pytest.mark.usefixtures("delays")
def test_an_outage_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """When it lasts, with its cause; a short one is not worth a word, and the next one that lasts is told of too."""
    read(Connections(DOWN, DOWN, DOWN, [EVENT], *[DOWN] * 9, [EVENT], *[DOWN] * 4))
    told = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(told) == 2
    for text in told:
        assert re.fullmatch(r"Job job_1: attempt \d+ in \d\.\d\d s: down", text)


def test_a_connection_that_breaks_after_progress_is_a_first_failure(delays: list[float]) -> None:
    """Progress forgave what was before; the break itself counts."""
    read(Connections(DOWN, DOWN, [EVENT, CUT]), ReconnectPolicy(max_attempts=2))
    assert 0.75 <= delays[2] <= 1.25


def test_the_servers_own_base_delay_is_used(delays: list[float]) -> None:
    """``retry:`` in milliseconds, also for later failures, never above the maximum."""
    read(Connections([b"retry: 5000\n\n", log(1)], DOWN, [b"retry: 999999\n\n", log(2)]))
    assert delays[0] == 5
    assert 3.75 <= delays[1] <= 6.25
    assert delays[2] == 60


def test_retry_after_replaces_the_delay(delays: list[float]) -> None:
    """Up to the maximum."""
    read(Connections(error_for_status(429, "slow", 7), error_for_status(503, "down", 3600)))
    assert delays == [7, 60]


def test_a_deadline_shortens_the_delay_and_ends_the_reading(delays: list[float]) -> None:
    """Nobody sleeps past the deadline."""
    with pytest.raises(WaitTimeout):
        read(Connections([EVENT, CUT], content_type="text/html"), deadline=Deadline(0))
    assert delays == []


# Failures


def test_the_limit_of_failures_ends_it_with_the_last_as_cause(delays: list[float]) -> None:
    """A limit m bears m failures; number m + 1 ends it."""
    failures = [ServerError(500, str(number)) for number in range(9)]
    connections = Connections(*failures)
    with pytest.raises(ReconnectExhausted) as raised:
        read(connections, ReconnectPolicy(max_attempts=4))
    assert str(raised.value) == "Trainer SSE stream failed 5 consecutive times; giving up."
    assert raised.value.__cause__ is failures[4]
    assert len(delays) == 4


def test_no_failure_is_borne_where_the_limit_is_0(delays: list[float]) -> None:
    """The first one ends it."""
    with pytest.raises(ReconnectExhausted, match="failed 1 consecutive times"):
        read(Connections(DOWN), ReconnectPolicy(max_attempts=0))
    assert delays == []


def test_without_a_limit_failures_are_borne_for_long(delays: list[float]) -> None:
    """The default."""
    assert len(read(Connections(*[DOWN] * 300, [EVENT, END]))) == 1
    assert max(delays) <= 60


@pytest.mark.parametrize("status", [401, 403, 410, 426])
def test_some_statuses_are_raised_at_once(delays: list[float], status: int) -> None:
    """As they came."""
    refusal = error_for_status(status, "no")
    with pytest.raises(CloudApiError) as raised:
        read(Connections(refusal))
    assert raised.value is refusal


def test_a_refusal_is_borne_for_two_minutes_without_a_success(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Then the job is asked for; where that does not settle it, the refusal is raised."""
    clock = Clock(monkeypatch)
    asked: list[float] = []

    def is_over() -> bool:
        asked.append(clock.now)
        return False

    connections = Connections(*[NotFound(404, "not yet")] * 99)
    with pytest.raises(NotFound, match="not yet"):
        read(connections, ReconnectPolicy(base_delay=1, max_delay=10), is_over=is_over)
    assert len(asked) == 1
    assert 120 <= asked[0] <= 130


def test_a_refusal_that_a_success_follows_starts_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes are counted without a success between."""
    clock = Clock(monkeypatch)
    refusal = NotFound(404, "not yet")
    policy = ReconnectPolicy(base_delay=50, max_delay=50)
    events = read(Connections(refusal, refusal, [log(1)], refusal, refusal, [log(2)], refusal, [END]), policy)
    assert len(events) == 2
    assert clock.now > 240


def test_a_question_for_the_job_that_gets_no_answer_is_no_end(delays: list[float]) -> None:
    """The backend may be restarting: the events are still to be had."""

    def is_over() -> bool:
        raise ConnectionFailed("no answer")

    assert len(read(Connections([], [], [], [EVENT, END]), is_over=is_over)) == 1


def test_a_lasting_refusal_of_a_job_that_is_over_is_its_end(
    delays: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stream of an old job may be gone."""
    monkeypatch.setattr(stream, "BOUNDED_RETRY_S", 0.0)
    connections = Connections(*[NotFound(404, "gone")] * 9)
    read(connections, is_over=lambda: True)
    assert len(connections.asked) == 1


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_backend_that_is_busy_for_long_is_asked_for_the_job(
    delays: list[float], monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    """A job that is over has its end although every stream is taken; for one that runs the stream is tried on."""
    monkeypatch.setattr(stream, "BOUNDED_RETRY_S", 0.0)
    answers = iter([False, False, True])
    connections = Connections(*[CloudApiError(status, "busy")] * 9)
    read(connections, is_over=lambda: next(answers))
    assert len(connections.asked) == 3


def test_a_stream_that_only_ends_is_asked_about_from_the_second_time_on(delays: list[float]) -> None:
    """One empty stream may be an accident; and a third shows that a job that is over has nothing more to tell."""
    connections = Connections(*[[b": nothing\n\n"]] * 9)
    read(connections, is_over=lambda: True)
    assert len(connections.asked) == 3


@pytest.mark.parametrize("between", [[], [DOWN, DOWN]])
def test_a_job_that_ended_while_its_streams_did_is_read_to_its_end(
    delays: list[float], between: list[Exception]
) -> None:
    """Queued at a backend that is restarted again and again, then quickly done: its word comes before its events."""
    connections = Connections([], [], *between, [log(1) + log(2)], [log(3)], [])
    events = read(connections, is_over=lambda: True)
    assert [event["step"] for event in events] == [1, 2, 3]


def test_a_job_that_goes_on_is_asked_about_again(delays: list[float]) -> None:
    """After each further empty stream; the one that follows its end is the last."""
    answers = iter([False, False, True])
    connections = Connections(*[[]] * 9)
    read(connections, is_over=lambda: next(answers))
    assert len(connections.asked) == 5


def test_nobody_is_asked_while_events_come(delays: list[float]) -> None:
    """Ends after progress, and failures that say nothing of the job, ask nothing."""
    connections = Connections([log(1)], DOWN, DOWN, DOWN, DOWN, [log(2)], [], [log(3)], [])
    events = read(connections, is_over=lambda: pytest.fail("asked"))
    assert [event["step"] for event in events] == [1, 2, 3]


def test_a_backend_that_is_gone_for_good_ends_it(delays: list[float]) -> None:
    """After a connection that failed, it is looked for; what that raises is raised."""

    def gone() -> None:
        raise LocalBackendError("gone")

    with pytest.raises(LocalBackendError):
        read(Connections(ConnectionFailed("refused")), check_alive=gone)
    read(Connections(DOWN, [], [EVENT]), check_alive=gone)


@pytest.mark.parametrize(
    "cut",
    [CUT, urllib3.exceptions.ReadTimeoutError(None, "/", "silence"), ConnectionResetError(), TimeoutError()],  # type: ignore[arg-type]
)
def test_a_body_that_breaks_is_a_failure_like_any_other(delays: list[float], cut: Exception) -> None:
    """What was whole before the break is told, and the reading goes on after it."""
    connections = Connections([EVENT + b"id: 2\ndata: {", cut])
    assert len(read(connections)) == 1
    assert connections.asked == [None, "1"]


def test_a_body_that_cannot_be_read_piece_by_piece_says_what_to_upgrade(delays: list[float]) -> None:
    """An urllib3 before 2.3."""
    connections = Connections([END])
    ordinary = connections.open

    def open_old(last_event_id: str | None, _: tuple[float, float]) -> requests.Response:
        response = ordinary(last_event_id, _)
        response.raw = object()
        return response

    connections.open = open_old  # type: ignore[method-assign]
    with pytest.raises(StreamError, match=r"urllib3>=2\.3"):
        read(connections)


def test_every_connection_is_closed(delays: list[float]) -> None:
    """However it ended."""
    connections = Connections([EVENT], [CUT], [EVENT, CUT], [END])
    read(connections)
    assert [body.closed for body in connections.bodies] == [True] * 4


def test_a_reader_that_stops_early_closes_its_connection(delays: list[float]) -> None:
    """As a loop that is left by ``break`` does."""
    connections = Connections([EVENT, log(2), END])
    stream = EventStream(
        "job_1",
        connections.open,
        policy=ReconnectPolicy(),
        abort_event=None,
        deadline=Deadline(),
        position=StreamPosition(),
        is_over=lambda: False,
        check_alive=lambda: None,
    )
    events: Iterator[Any] = iter(stream)
    next(events)
    events.close()  # type: ignore[attr-defined]
    assert connections.bodies[0].closed


# What is remembered


@pytest.mark.parametrize(
    ("frames", "after"),
    [
        (EVENT, "1"),
        (EVENT + b"id: 7\n\n", "7"),
        (EVENT + b"id: 7\nevent: ping\ndata: {}\n\n", "7"),
        (EVENT + b"id: 7\ndata: not json\n\n", "7"),
        (EVENT + b"id: 7\ndata: {}", "1"),
        (EVENT + b"id: a\0b\ndata: {}\n\n", "1"),
        (EVENT + b"data: {}\n\n", "1"),
        (EVENT + b"id\ndata: {}\n\n", ""),
        ("id: ü\ndata: {}\n\n".encode(), "ü"),
    ],
)
def test_the_id_of_the_last_whole_frame_is_remembered(delays: list[float], frames: bytes, after: str) -> None:
    """Whatever the frame was about; an empty one resets it."""
    connections = Connections([frames])
    read(connections)
    assert connections.asked == [None, after]


def test_reading_starts_after_the_event_it_is_told(delays: list[float]) -> None:
    """Which a server that honours it does not send again."""
    connections = Connections([log(6)])
    assert read(connections, after="5") == [{"type": "training.log", "step": 6}]
    assert connections.asked == ["5", "6"]


@pytest.mark.parametrize(
    "frame",
    [
        b"event: ping\ndata: {}\n\n",
        b": comment\n\n",
        b"data: [1]\n\n",
        b"data: 7\n\n",
        b"data: null\n\n",
        b"data: {broken\n\n",
        b"data: " + b"[" * 100_000 + b"\n\n",
        b'data: {"step": ' + b"1" * 10_000 + b"}\n\n",
    ],
    ids=range(8),
)
def test_what_is_no_json_object_is_no_event_and_no_progress(delays: list[float], frame: bytes) -> None:
    """It is passed over."""
    assert read(Connections([frame, END])) == []
    with pytest.raises(ReconnectExhausted):
        read(Connections([frame]), ReconnectPolicy(max_attempts=0))


def test_an_event_is_the_frames_object(delays: list[float]) -> None:
    """Data of several lines is one object; what comes after the end is not read."""
    (event,) = read(Connections([b'event: training.log\ndata: {"step":\ndata: 1}\n\n' + END + EVENT]))
    assert event == {"type": "training.log", "step": 1}


def test_the_frames_name_stands_in_for_a_missing_type(delays: list[float]) -> None:
    """It is the same name; where both are given, the object's counts."""
    events = read(Connections([b'event: a\ndata: {}\n\nevent: a\ndata: {"type": "b"}\n\ndata: {}\n\n']))
    assert [event["type"] for event in events] == ["a", "b", "message"]


# What is sent again


def test_a_repeat_is_progress_but_is_not_handed_out_again(delays: list[float]) -> None:
    """The server works: it only does not know how to go on."""
    connections = Connections([log(1) + log(2)], [log(1) + log(2)], [log(1) + log(2) + log(3)], [log(1) + END])
    events = read(connections, ReconnectPolicy(max_attempts=0))
    assert [event["step"] for event in events] == [1, 2, 3]
    assert delays == [1, 1, 1]


def test_a_server_that_only_repeats_itself_is_asked_about_too(delays: list[float]) -> None:
    """The job may be over, and nothing new come any more."""
    connections = Connections(*[[log(1)]] * 9)
    assert len(read(connections, is_over=lambda: True)) == 1
    assert len(connections.asked) == 1 + 3


def test_what_is_sent_again_does_not_move_the_position_back(delays: list[float]) -> None:
    """A cut amid repeats goes on after the last new event all the same."""
    connections = Connections([log(1) + log(2) + log(3)], [log(1) + b"id: 1\nevent: ping\ndata: {}\n\n" + log(2)])
    read(connections)
    assert connections.asked == [None, "3", "3"]
