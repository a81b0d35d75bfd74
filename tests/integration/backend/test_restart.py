"""The backend itself: killed, started again, stopped, idle."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests

from arkor.backend.store.schema import attempts
from arkor.version import __version__
from tests.support.backend import FOUR_STEPS, TIMEOUT_S, BackendProcess, is_running
from tests.support.databases import open_for, sqlite_only
from tests.support.eventually import eventually


def _seen(frames: list[Any]) -> list[tuple[str, Any]]:
    return [(frame.event, frame.data.get("step")) for frame in frames]


@sqlite_only
def test_the_server_file_says_where_the_backend_is(prepare: Callable[..., BackendProcess]) -> None:
    """Readable by its owner alone, gone when the backend is; the data are the owner's too."""
    backend = prepare().start()
    assert backend.process is not None
    body = json.loads(backend.server_file.read_bytes())
    assert set(body) == {"url", "pid", "createTime", "version", "startedAt", "secret"}
    assert (body["pid"], body["version"]) == (backend.process.pid, __version__)
    assert backend.server_file.stat().st_mode & 0o777 == 0o600
    assert backend.data.stat().st_mode & 0o777 == 0o700
    assert (backend.data / "backend.sqlite3").stat().st_mode & 0o777 == 0o600
    assert "chmod" not in backend.log
    assert backend.stop() == 0
    assert not backend.server_file.exists()


@sqlite_only
def test_a_data_folder_that_was_there_is_left_as_it_is(
    prepare: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """If others can reach it, the log says so; what they find in it they cannot read."""
    backend = prepare()
    backend.data.mkdir()
    backend.data.chmod(0o755)
    client = backend.start().client()
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.events(job_id)
    assert backend.data.stat().st_mode & 0o777 == 0o755
    assert "its mode is 0755" in backend.log
    assert f"To keep others out: chmod 700 {backend.data}\n" in backend.log
    assert {path.name for path in backend.data.iterdir() if path.is_dir() and path.stat().st_mode & 0o077} == set()
    assert (backend.data / "backend.sqlite3").stat().st_mode & 0o077 == 0


def test_a_worker_outlives_a_killed_backend(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """The next backend takes the same port, the worker goes on, and nothing is lost or told twice."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:4", {**config, "saveSteps": 2}).json()["job"]["id"]
    backend.allow(job_id, 2)
    stream = client.open_stream(job_id)
    before = stream.until("checkpoint.saved")
    pid, url = backend.worker_pid(job_id), backend.url
    backend.kill()
    backend.allow(job_id, 3)  # happens while nobody listens
    backend.start()
    assert backend.url == url
    assert client.job(job_id)["status"] == "running"
    backend.allow(job_id, 4)
    after = client.open_stream(job_id, last_event_id=before[-1].id).events()
    assert _seen([frame for frame in before if frame.event != "ping"] + after) == FOUR_STEPS
    eventually(lambda: not is_running(pid), "the worker ends")
    assert not (backend.job_dir(job_id) / "pid-2").exists()
    assert client.job(job_id)["status"] == "completed"


def test_a_backend_that_was_held_up_does_not_blame_its_workers(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """It could not hear them, so their leases begin again."""
    backend = start(lease=3.0)
    assert backend.process is not None
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    backend.process.send_signal(signal.SIGSTOP)
    threading.Event().wait(4.0)  # longer than the lease
    backend.process.send_signal(signal.SIGCONT)
    backend.allow(job_id, 1)
    assert client.events(job_id)[-1].event == "training.completed"
    assert not (backend.job_dir(job_id) / "pid-2").exists()


def test_a_job_is_resumed_when_its_worker_is_gone_too(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """From the last checkpoint; the steps that are done again are not told again."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:4", {**config, "saveSteps": 2}).json()["job"]["id"]
    backend.allow(job_id, 3)
    stream = client.open_stream(job_id)
    while stream.until("training.log")[-1].data["step"] != 3:
        pass
    pid = backend.worker_pid(job_id)
    backend.kill()
    os.kill(pid, signal.SIGKILL)
    backend.start()
    backend.worker_pid(job_id, attempt=2)
    backend.allow(job_id, 4)
    frames = client.events(job_id)
    assert [event for event in _seen(frames) if event[0] != "training.interrupted"] == FOUR_STEPS
    interrupted = next(frame.data for frame in frames if frame.event == "training.interrupted")
    assert (interrupted["reason"], interrupted["step"]) == ("Its worker's process was gone", 3)
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    names = [item["name"] for item in client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]]
    assert names == ["checkpoint-2", "checkpoint-4", "adapter"]


def test_a_cancel_survives_a_killed_backend(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """A worker that heeds nothing is killed by the next backend, which never started it."""
    backend = start(cancel_grace=5.0)
    client = backend.client()
    job_id = client.submit("hang", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    pid = backend.worker_pid(job_id)
    client.cancel(job_id)
    backend.kill()
    assert is_running(pid)
    backend.change(cancel_grace=0.3)
    backend.start()
    assert client.events(job_id)[-1].event == "training.cancelled"
    assert not is_running(pid)
    assert client.job(job_id)["status"] == "cancelled"


def test_a_worker_that_stays_after_its_last_event_does_not_outlive_a_restart(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """The backend was killed just after that event. The spec, which holds tokens, goes too; then the job can go."""
    backend = start(cancel_grace=30.0)
    client = backend.client()
    job_id = client.submit("linger", config).json()["job"]["id"]
    assert client.events(job_id)[-1].event == "training.completed"
    pid, spec = backend.worker_pid(job_id), backend.job_dir(job_id) / "spec.json"
    backend.kill()
    assert (is_running(pid), spec.exists()) == (True, True)
    backend.change(cancel_grace=2.0)
    backend.start()
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 503
    eventually(lambda: not is_running(pid), "the worker is ended")
    eventually(lambda: not spec.exists(), "the spec is gone")
    assert client.job(job_id)["status"] == "completed"
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204


def _change_attempts(backend: BackendProcess, **values: Any) -> None:
    with contextlib.closing(open_for(backend.data)) as database, database.write() as connection:
        connection.execute(attempts.update().values(**values))


def test_a_worker_whose_process_was_not_stored_is_ended_after_a_restart(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """As if the backend had been killed just after it started the worker; until its end the job cannot be deleted."""
    backend = start(cancel_grace=30.0)
    client = backend.client()
    job_id = client.submit("hang", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    pid = backend.worker_pid(job_id)
    client.cancel(job_id)
    backend.kill()
    _change_attempts(backend, worker=None)
    backend.change(cancel_grace=1.0)
    backend.start()
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 409
    assert client.events(job_id)[-1].event == "training.cancelled"
    eventually(lambda: client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204, "the job can go")
    assert not is_running(pid)


def test_a_worker_of_no_attempt_is_ended_at_the_start(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """An attempt that is over needs no process. So none runs when its job is deleted."""
    backend = start(cancel_grace=30.0)
    client = backend.client()
    job_id = client.submit("linger", config).json()["job"]["id"]
    assert client.events(job_id)[-1].event == "training.completed"
    pid = backend.worker_pid(job_id)
    backend.kill()
    _change_attempts(backend, ended=True)
    backend.start()
    assert not is_running(pid)
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204


def test_a_graceful_stop_keeps_the_work(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """The worker saves and goes, the job waits in the queue, and the next backend resumes it."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:4", config).json()["job"]["id"]
    backend.allow(job_id, 2)
    stream = client.open_stream(job_id)
    seen = [*stream.until("training.log"), *stream.until("training.log")]
    assert seen[-1].data["step"] == 2
    pid = backend.worker_pid(job_id)
    assert backend.stop() == 0
    assert not is_running(pid)
    assert backend.checkpoint(job_id) == 2
    assert [frame.event for frame in stream if frame.event != "ping"] == []
    backend.allow(job_id, 4)
    backend.start()
    again = backend.client_as(client)
    frames = again.events(job_id)
    assert _seen(frames) == [
        ("training.started", None),
        *[("training.log", step) for step in (1, 2, 3, 4)],
        ("training.completed", None),
    ]


def test_a_stop_does_not_count_as_a_lost_attempt(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """However often the backend is restarted, the job goes on."""
    backend = start(max_attempts=1)
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    assert backend.stop() == 0
    backend.start()
    backend.worker_pid(job_id, attempt=2)
    backend.allow(job_id, 1)
    assert backend.client_as(client).events(job_id)[-1].event == "training.completed"


def test_a_worker_that_heeds_nothing_is_killed_at_the_stop(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """The grace of the stop is bounded, and no process is left."""
    backend = start(stop_grace=0.5)
    client = backend.client()
    job_id = client.submit("hang", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    pid, child = backend.worker_pid(job_id), int((backend.job_dir(job_id) / "child-pid").read_text())
    assert backend.stop() == 0
    eventually(lambda: not is_running(pid) and not is_running(child), "worker and child are gone")


def test_an_unused_backend_ends_by_itself(prepare: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Not while a job runs, nor when a client came while another held the lock."""
    patience_s = 0.4
    backend = prepare(idle_exit=patience_s)
    with backend.lock():  # it cannot end while the test is at work
        client = backend.start().client()
        job_id = client.submit("gated:1", config).json()["job"]["id"]
        backend.worker_pid(job_id)
    assert backend.process is not None
    threading.Event().wait(1.5 * patience_s)
    assert backend.process.poll() is None
    with backend.lock():
        backend.allow(job_id, 1)
        assert client.events(job_id)[-1].event == "training.completed"
        backend.wait_settled(job_id)
        threading.Event().wait(1.5 * patience_s)  # now it wants the lock, and answers all the same
        asked_at = time.monotonic()
        assert requests.get(f"{backend.url}/healthz", timeout=TIMEOUT_S).status_code == 200
    assert backend.process.wait(TIMEOUT_S) == 0
    assert time.monotonic() - asked_at >= patience_s
    assert not backend.server_file.exists()


def test_a_second_backend_on_the_same_data_is_refused(start: Callable[..., BackendProcess], tmp_path: Path) -> None:
    """One clear line, and the first one's address stays."""
    first = start()
    second = BackendProcess(tmp_path / "second")
    second.data = first.data
    process = second.launch()
    assert process.wait(TIMEOUT_S) == 3
    assert second.log.count("\n") == 1
    assert f"Another backend is using {first.data}" in second.log
    assert first.client().get("/v1/jobs").status_code == 200


def test_a_port_in_use_is_said(start: Callable[..., BackendProcess], tmp_path: Path) -> None:
    """A port that was asked for is not exchanged for another."""
    first = start()
    port = first.url.rpartition(":")[2]
    second = BackendProcess(tmp_path / "second", port=port)
    assert second.launch().wait(TIMEOUT_S) == 3
    assert f"Cannot listen on 127.0.0.1:{port}" in second.log
    assert not second.server_file.exists()


def test_a_broken_server_file_does_not_matter(start: Callable[..., BackendProcess]) -> None:
    """It is replaced."""
    backend = start()
    backend.kill()
    backend.server_file.write_bytes(b'{"url": ')
    assert backend.start().client().get("/v1/jobs").json() == {"jobs": []}
