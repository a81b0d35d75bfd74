"""A worker's reports: in order, once, kept while the backend is away, and what the answers make the worker do."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

from arkor.backend.training_worker import connection
from arkor.backend.training_worker.connection import ReportConnection
from arkor.backend.training_worker.reporter import Reporter, Timing
from arkor.protocol.proof import (
    CHALLENGE_HEADER,
    attempt_secret,
    is_proof,
    is_proven,
    new_challenge,
    secret_of,
)
from arkor.version import __version__
from tests.support.eventually import eventually
from tests.support.receiver import TOKEN, Receiver
from tests.support.stranger import stranger

FAST = Timing(heartbeat_s=0.05, retry_s=0.02, give_up_s=0.6)


class Told:
    """Notes what a reporter tells the worker."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def cancelled(self) -> None:
        self.words.append("cancelled")

    def superseded(self) -> None:
        self.words.append("superseded")

    def orphaned(self) -> None:
        self.words.append("orphaned")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as running:
        yield running


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def reporter(receiver: Receiver, told: Told) -> Iterator[Reporter]:
    reporter = Reporter(f"{receiver.url}/internal/jobs/job_1/events", TOKEN, 2, told, FAST)
    yield reporter
    reporter.close()


def test_silence_is_filled_with_heartbeats(receiver: Receiver, reporter: Reporter) -> None:
    """Empty reports go out at once and again and again, with the attempt, its token and the client's name."""
    reporter.start()
    eventually(lambda: len(receiver.reports) >= 3, "heartbeats")
    assert receiver.reports[0] == {"path": "/internal/jobs/job_1/events", "attempt": 2, "events": []}
    assert receiver.headers["Authorization"] == f"Bearer {TOKEN}"
    assert receiver.headers["X-Arkor-Client"] == f"arkor/{__version__}"


def test_events_arrive_in_order_numbered_from_one(receiver: Receiver, reporter: Reporter) -> None:
    """More events than fit into one report arrive complete, in order, each with its seq and a UTC timestamp."""
    for step in range(500):
        reporter.send("training.log", step=step)
    reporter.start()
    assert reporter.flush(10)
    assert [event["seq"] for event in receiver.events] == list(range(1, 501))
    assert [event["step"] for event in receiver.events] == list(range(500))
    assert all(event["timestamp"].endswith("Z") for event in receiver.events)
    assert max(len(report["events"]) for report in receiver.reports) <= 200


def test_numbers_that_json_cannot_hold_become_null(receiver: Receiver, reporter: Reporter) -> None:
    """A loss that is not a number does not block every event after it."""
    reporter.start()
    reporter.send("training.log", step=1, loss=float("nan"), nested={"values": [float("inf"), 1.5]})
    assert reporter.flush(5)
    assert receiver.events[0]["loss"] is None
    assert receiver.events[0]["nested"] == {"values": [None, 1.5]}


class Opaque:
    """A value that JSON does not know."""

    def __repr__(self) -> str:
        return "<opaque>"


class Scalar:
    """A number of NumPy's or torch's kind."""

    def __init__(self, number: float) -> None:
        self.number = number

    def item(self) -> float:
        return self.number


def test_values_that_are_not_json_do_not_silence_the_reporter(
    receiver: Receiver, reporter: Reporter, caplog: pytest.LogCaptureFixture
) -> None:
    """Numbers of other libraries stay numbers, the rest becomes text, and later events arrive too."""
    loop: list[Any] = []
    loop.append(loop)
    values = {"loss": Scalar(0.5), "gradNorm": Scalar(float("nan")), "metadata": {("a", 1): Opaque(), "ok": [1, None]}}
    reporter.start()
    reporter.send("training.log", step=1, **values)
    reporter.send("training.started", metadata={"set": {1}, "bytes": b"x", "loop": loop})
    reporter.send("training.log", step=2, loss=0.25)
    assert reporter.flush(5)
    first, second, third = receiver.events
    assert (first["step"], first["loss"], first["gradNorm"]) == (1, 0.5, None)
    assert first["metadata"] == {"('a', 1)": "<opaque>", "ok": [1, None]}
    assert (second["metadata"]["set"], second["metadata"]["bytes"]) == ("{1}", "b'x'")
    assert third["loss"] == 0.25
    assert "is not JSON" in caplog.text


def test_half_a_character_reaches_the_backend_as_a_question_mark(receiver: Receiver, reporter: Reporter) -> None:
    """In a text, in a key, and beside other fields: the backend takes no other report before this one."""
    reporter.start()
    reporter.send("training.failed", error="no file caf\udce9", metadata={"\ud83d": ["\ud83d"]})
    assert reporter.flush(5)
    assert [(event["error"], event["metadata"]) for event in receiver.events] == [("no file caf?", {"?": ["?"]})]


def test_a_fault_in_a_report_does_not_end_the_reporter(
    receiver: Receiver,
    reporter: Reporter,
    told: Told,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is in the log, and the report is sent again."""
    post, faults = ReportConnection.post, [TypeError("not serializable"), RuntimeError("odd")]

    def fail_first(connection: ReportConnection, events: list[dict[str, Any]]) -> tuple[int, str]:
        if faults:
            raise faults.pop()
        return post(connection, events)

    monkeypatch.setattr(ReportConnection, "post", fail_first)
    reporter.send("training.log", step=1)
    reporter.start()
    assert reporter.flush(5)
    assert [event["step"] for event in receiver.events] == [1]
    assert told.words == []
    assert "not serializable" in caplog.text


def test_a_fault_that_lasts_is_told_as_an_absent_backend(
    reporter: Reporter, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker does not train on without being heard."""

    def fail(*_: Any) -> tuple[int, str]:
        raise TypeError("not serializable")

    monkeypatch.setattr(ReportConnection, "post", fail)
    reporter.send("training.log", step=1)
    reporter.start()
    assert not reporter.flush(10)
    eventually(lambda: told.words == ["orphaned"], "the word")


def test_events_survive_a_backend_that_is_away_for_a_while(receiver: Receiver, reporter: Reporter, told: Told) -> None:
    """What is refused is sent again, and arrives once."""
    receiver.status = 503
    reporter.start()
    reporter.send("training.log", step=1)
    eventually(lambda: len(receiver.reports) >= 3, "tries")
    assert not reporter.flush(0.01)
    receiver.status = 200
    assert reporter.flush(5)
    assert [event["step"] for event in receiver.events] == [1]
    assert told.words == []


def test_events_survive_a_restart_of_the_backend(told: Told) -> None:
    """A backend that comes back on its port gets what it missed."""
    first = Receiver()
    timing = Timing(heartbeat_s=0.05, retry_s=0.02, give_up_s=20)
    reporter = Reporter(f"{first.url}/internal/jobs/job_1/events", TOKEN, 1, told, timing)
    reporter.start()
    reporter.send("training.log", step=1)
    assert reporter.flush(5)
    first.close()
    reporter.send("training.log", step=2)
    with Receiver(first.port) as second:
        assert reporter.flush(10)
        assert [(event["seq"], event["step"]) for event in second.events] == [(2, 2)]
        reporter.close()


def test_another_server_takes_the_reports_when_one_is_gone(told: Told) -> None:
    """And the first one takes them again when the other is gone."""
    first = Receiver()
    timing = Timing(heartbeat_s=0.05, retry_s=0.02, give_up_s=20)
    reporter = Reporter(f"{first.url}/internal/jobs/job_1/events", TOKEN, 1, told, timing)
    with Receiver() as second:
        first.servers = [second.url, first.url]
        reporter.start()
        reporter.send("training.log", step=1)
        assert reporter.flush(5)
        first.close()
        reporter.send("training.log", step=2)
        assert reporter.flush(10)
        assert [(event["seq"], event["step"]) for event in second.events] == [(2, 2)]
    reporter.send("training.log", step=3)
    with Receiver(first.port) as again:
        assert reporter.flush(10)
        assert [event["step"] for event in again.events] == [3]
        reporter.close()
    assert told.words == []


def test_another_program_on_the_backends_port_gets_no_token(told: Told) -> None:
    """It is as a backend that is away; the backend that comes back there gets what it missed."""
    with stranger() as other:
        timing = Timing(heartbeat_s=0.05, retry_s=0.02, give_up_s=20)
        reporter = Reporter(f"{other.url}/internal/jobs/job_1/events", TOKEN, 1, told, timing)
        reporter.send("training.log", step=1)
        reporter.start()
        eventually(lambda: len(other.requests) >= 3, "tries")
        assert not reporter.flush(0.01)
    assert {(method, path) for method, path, _ in other.requests} == {("GET", "/internal/jobs/job_1/events?attempt=1")}
    assert not other.saw_a_token
    with Receiver(int(other.url.rpartition(":")[2])) as receiver:
        assert reporter.flush(10)
        assert [event["step"] for event in receiver.events] == [1]
        reporter.close()
    assert told.words == []


def test_reports_go_over_tls_to_a_backend_that_is_trusted(
    told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one behind a proxy, for workers on other machines; another one gets no request."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "authority.pem"
    with Receiver(tls=context) as receiver:
        url = f"{receiver.url}/internal/jobs/job_1/events"
        with pytest.raises(ssl.SSLCertVerificationError):
            ReportConnection(url, TOKEN, 2).post([])
        assert receiver.reports == []
        authority.cert_pem.write_to_path(bundle)
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
        reporter = Reporter(url, TOKEN, 2, told, FAST)
        reporter.start()
        reporter.send("training.started", metadata={})
        assert reporter.flush(10.0)
        reporter.close()
    assert [event["type"] for event in receiver.events] == ["training.started"]


def test_a_program_that_passes_challenges_on_proves_nothing(receiver: Receiver) -> None:
    """The backend listens on another port, and proves no more than that."""
    challenge = new_challenge()
    answer = requests.get(receiver.url, headers={CHALLENGE_HEADER: challenge}, timeout=5).json()
    assert is_proof(answer["proof"], attempt_secret(secret_of(TOKEN), receiver.port), challenge)
    assert not is_proof(answer["proof"], attempt_secret(secret_of(TOKEN), receiver.port + 1), challenge)


def test_each_new_connection_is_proven(receiver: Receiver, reporter: Reporter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that takes the place of a connection that the backend closed."""
    proven = []

    def noting(*arguments: Any) -> bool:
        proven.append(arguments[1])
        return is_proven(*arguments)

    monkeypatch.setattr(connection, "is_proven", noting)
    reporter.start()
    eventually(lambda: len(receiver.reports) >= 3, "reports")
    assert len(proven) == 1
    receiver.closes = True
    eventually(lambda: len(proven) >= 3, "new connections")


def test_a_cancel_is_told_once(receiver: Receiver, reporter: Reporter, told: Told) -> None:
    """However often the backend repeats it."""
    receiver.cancel = True
    reporter.start()
    eventually(lambda: len(receiver.reports) >= 4, "answers")
    assert told.words == ["cancelled"]


def test_a_stale_attempt_is_told_at_once_and_falls_silent(receiver: Receiver, reporter: Reporter, told: Told) -> None:
    """409 means that another attempt has taken over: nothing is sent after it, and a flush does not hang."""
    receiver.status = 409
    reporter.start()
    reporter.send("training.log", step=1)
    eventually(lambda: told.words, "the word")
    count = len(receiver.reports)
    assert not reporter.flush()
    assert told.words == ["superseded"]
    assert len(receiver.reports) == count


def test_a_backend_that_stays_away_is_given_up(receiver: Receiver, reporter: Reporter, told: Told) -> None:
    """After the time without an answer the worker is told, once, and a flush returns."""
    receiver.status = 500
    reporter.start()
    reporter.send("training.log", step=1)
    assert not reporter.flush(10)
    eventually(lambda: told.words == ["orphaned"], "the word")


def test_the_share_of_the_cores_is_heard(receiver: Receiver, reporter: Reporter) -> None:
    """With any answer that says one."""
    reporter.start()
    eventually(lambda: receiver.reports, "a report")
    assert reporter.threads is None
    receiver.threads = 1
    eventually(lambda: reporter.threads == 1, "the share is known")
