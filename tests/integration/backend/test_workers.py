"""Workers that end badly, go silent, repeat themselves or break the rules."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import requests

from arkor.backend.training_worker.connection import AnotherProgram, ReportConnection
from arkor.protocol.proof import CHALLENGE_HEADER, attempt_secret, new_challenge, proof_of, secret_of
from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually


def test_a_crash_fails_the_job_with_the_end_of_the_log(client: Client, config: dict[str, Any]) -> None:
    """The exit code and the last 15 lines, no more."""
    job_id = client.submit("crash:7", config).json()["job"]["id"]
    (frame,) = client.events(job_id)
    first, head, *tail = frame.data["error"].splitlines()
    assert frame.event == "training.failed"
    assert first == "The worker ended with exit code 7 without saying how the training went."
    assert head == "The end of its log:"
    assert tail[0] == "line 27 of its output"
    assert tail[-1] == "RuntimeError: the scripted worker was told to crash"
    assert len(tail) == 15
    assert client.job(job_id)["error"] == frame.data["error"]


def test_a_quiet_exit_is_a_failure_too(client: Client, config: dict[str, Any]) -> None:
    """Exit code 0 without a verdict is not success."""
    job_id = client.submit("crash:0", config).json()["job"]["id"]
    assert "exit code 0" in client.events(job_id)[-1].data["error"]
    assert client.job(job_id)["status"] == "failed"


def test_a_worker_that_knows_why_says_so(client: Client, config: dict[str, Any]) -> None:
    """Its own words are the job's error."""
    job_id = client.submit("fail", config).json()["job"]["id"]
    (frame,) = client.events(job_id)
    assert (frame.data["error"], frame.data["step"]) == ("The scripted worker was told to fail.", 3)
    job = client.job(job_id)
    assert (job["status"], job["error"]) == ("failed", "The scripted worker was told to fail.")


def test_a_job_whose_worker_is_killed_goes_on(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Its events name the signal, with what is often behind it."""
    job_id = client.submit("gated:2", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    os.kill(shared.worker_pid(job_id), signal.SIGKILL)
    shared.worker_pid(job_id, attempt=2)
    shared.allow(job_id, 2)
    interrupted, *rest = client.events(job_id)[1:]
    assert interrupted.data["reason"] == "Its worker was killed by signal SIGKILL (often: out of memory)"
    assert [frame.event for frame in rest] == ["training.log", "training.log", "training.completed"]


def test_a_silent_worker_is_killed_and_its_job_tried_again(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """Three times, then the job fails and says why; training is announced once."""
    backend = start(lease=0.4)
    client = backend.client()
    job_id = client.submit("silent", config).json()["job"]["id"]
    frames = client.events(job_id)
    assert [frame.event for frame in frames] == ["training.started", *["training.interrupted"] * 2, "training.failed"]
    assert frames[-1].data["error"] == "Gave up after 3 lost attempts; in the last one its worker stopped reporting"
    for attempt in (1, 2, 3):
        assert not is_running(backend.worker_pid(job_id, attempt))


def test_a_job_whose_worker_lost_the_backend_is_resumed(client: Client, config: dict[str, Any]) -> None:
    """Exit code 3 is no verdict; but not for ever."""
    job_id = client.submit("lost", config).json()["job"]["id"]
    assert client.events(job_id)[-1].data["error"].startswith("Gave up after 3 lost attempts")


def test_a_worker_that_does_not_go_is_killed_after_its_last_event(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """The job is completed, and the place is free for the next one."""
    job_id = client.submit("linger", config).json()["job"]["id"]
    assert client.events(job_id)[-1].event == "training.completed"
    pid = shared.worker_pid(job_id)
    following = client.submit("complete:1", config).json()["job"]["id"]
    assert client.events(following)[-1].event == "training.completed"
    assert not is_running(pid)
    assert client.job(job_id)["status"] == "completed"


def test_repeats_are_stored_once_and_numbers_are_json(client: Client, config: dict[str, Any]) -> None:
    """Each report came twice; what is not finite became null; nothing follows the last event."""
    job_id = client.submit("odd", config).json()["job"]["id"]
    frames = client.events(job_id)
    assert [(frame.event, frame.data.get("loss")) for frame in frames] == [
        ("training.started", None),
        ("training.log", None),
        ("training.log", 0.5),
        ("training.completed", None),
    ]
    assert frames[0].data["metadata"] == {"loss": None}
    assert frames[-1].data["metrics"] == {"trainLoss": None}


_BAD_EVENTS: list[Any] = [
    {"type": "training.log", "step": 1},
    {"seq": 0, "type": "training.log", "step": 1},
    {"seq": 8, "type": "training.log", "step": 1},
    {"seq": "9", "type": "training.log", "step": 1},
    {"seq": 9, "type": "training.unheard"},
    {"seq": 9, "type": ["training.log"]},
    {"seq": 9, "type": "training.log"},
    {"seq": 9, "type": "training.log", "step": -1},
    {"seq": 9, "type": "checkpoint.saved", "step": 1.5},
    {"seq": 9, "type": "training.completed", "artifacts": [{"name": "a", "sizeBytes": 3}]},
    *(
        {"seq": 9, "type": "training.completed", "artifacts": [{"name": name, "sizeBytes": 3, "sha256": "0" * 64}]}
        for name in ("../../spec", "a/b", "", ".hidden", "a\0b", "x" * 101)
    ),
    "text",
    None,
]


class TestReports:
    """What the backend says to a report, sent by hand beside a worker that waits."""

    @pytest.fixture
    def job_id(self, client: Client, shared: BackendProcess, config: dict[str, Any]) -> Any:
        job_id = client.submit("gated:1", config).json()["job"]["id"]
        shared.worker_pid(job_id)
        client.open_stream(job_id).until("training.started")
        yield job_id
        client.cancel(job_id)
        client.events(job_id)

    @pytest.fixture
    def token(self, shared: BackendProcess, job_id: str) -> str:
        return str(json.loads((shared.job_dir(job_id) / "spec.json").read_text())["token"])

    def test_a_heartbeat_is_answered(self, client: Client, job_id: str, token: str) -> None:
        """With what the worker has to do."""
        beat = {"attempt": 1, "events": []}
        assert client.report(job_id, token, beat).json()["cancel"] is False
        client.cancel(job_id)
        assert client.report(job_id, token, beat).json()["cancel"] is True

    def test_an_event_is_known_by_its_number(self, client: Client, job_id: str, token: str) -> None:
        """A repeat is accepted and stored once, also beside events that are new."""
        logs = [{"seq": seq, "type": "training.log", "step": seq, "loss": 1.0} for seq in (5, 6, 7)]
        for events in (logs[:2], logs[:2], logs[1:], logs):
            answer = client.report(job_id, token, {"attempt": 1, "events": events})
            assert (answer.status_code, answer.json()["cancel"]) == (200, False)
        client.cancel(job_id)
        assert [frame.data.get("step") for frame in client.events(job_id)][1:-1] == [5, 6, 7]

    def test_the_backend_proves_that_it_knows_the_token(self, client: Client, job_id: str, token: str) -> None:
        """Before a worker sends it; of an attempt that does not exist there is nothing to prove."""
        challenge = new_challenge()

        def ask(job_id: str, attempt: object, challenge: str | None = challenge) -> requests.Response:
            headers = {"X-Arkor-Client": "arkor/0.1.0"} | ({} if challenge is None else {CHALLENGE_HEADER: challenge})
            address = f"{client.url}/internal/jobs/{job_id}/events"
            return requests.get(address, params={"attempt": str(attempt)}, headers=headers, timeout=10)

        port = int(client.url.rpartition(":")[2])
        assert ask(job_id, 1).json() == {"proof": proof_of(attempt_secret(secret_of(token), port), challenge)}
        assert ask(job_id, 2).status_code == 401
        assert ask("job_other", 1).status_code == 401
        for attempt in (0, -1, "x", "", 2**63, "1 "):
            assert ask(job_id, attempt).status_code == 400
        assert ask(job_id, 1, "short").status_code == 400
        assert ask(job_id, 1, None).status_code == 400

    def test_the_reporter_of_real_workers_is_heard(self, client: Client, job_id: str, token: str) -> None:
        """After the proof; with a token that the backend does not know there is none, and nothing is sent."""
        address = f"{client.url}/internal/jobs/{job_id}/events"
        connection = ReportConnection(address, token, 1)
        assert connection.post([])[0] == connection.post([])[0] == 200
        connection.close()
        with pytest.raises(AnotherProgram):
            ReportConnection(address, "made-up", 1).post([])

    def test_a_wrong_token_is_401(self, client: Client, job_id: str, token: str) -> None:
        """An identity's token, a made-up one, another job's, another attempt's."""
        beat = {"attempt": 1, "events": []}
        for wrong in (client.token, "made-up"):
            assert client.report(job_id, wrong, beat).status_code == 401
        assert client.report("job_other", token, beat).status_code == 401
        assert client.report(job_id, token, {"attempt": 2, "events": []}).status_code == 401

    def test_a_report_that_breaks_the_protocol_is_400(self, client: Client, job_id: str, token: str) -> None:
        """Nothing of it is stored, and no name becomes a path."""
        good = {"seq": 8, "type": "training.log", "step": 1, "loss": 1.0}
        for bad in _BAD_EVENTS:
            answer = client.report(job_id, token, {"attempt": 1, "events": [good, bad]})
            assert (answer.status_code, list(answer.json())) == (400, ["error"]), bad
        bodies: list[Any] = [
            {"events": []},
            {"attempt": 1},
            {"attempt": "1", "events": []},
            {"attempt": 1, "events": {}},
        ]
        for body in bodies:
            assert client.report(job_id, token, body).status_code == 400, body
        client.cancel(job_id)
        assert [frame.event for frame in client.events(job_id)] == ["training.started", "training.cancelled"]


def test_a_stale_attempt_is_409_and_changes_nothing(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """A worker that wakes up after its job was given to another has to leave."""
    backend = start(lease=1.5)
    client = backend.client()
    job_id = client.submit("gated:2", config).json()["job"]["id"]
    backend.allow(job_id, 1)
    client.open_stream(job_id).until("training.log")
    old = json.loads((backend.job_dir(job_id) / "spec.json").read_text())
    pid = backend.worker_pid(job_id)
    os.kill(pid, signal.SIGSTOP)  # silent, as a machine that sleeps
    backend.worker_pid(job_id, attempt=2)
    eventually(lambda: not is_running(pid), "the silent worker is gone")
    event = {"seq": 99, "type": "training.failed", "error": "from the dead"}
    for events in ([], [event]):
        answer = client.report(job_id, old["token"], {"attempt": 1, "events": events})
        assert answer.status_code == 409
    backend.allow(job_id, 2)
    frames = client.events(job_id)
    assert [(frame.event, frame.data.get("step")) for frame in frames] == [
        ("training.started", None),
        ("training.log", 1),
        ("training.interrupted", 1),
        ("training.log", 2),
        ("training.completed", None),
    ]
