"""Two backends that share a database, and a database that goes away."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.storage import keys
from arkor.backend.storage.choose import open_storage
from tests.integration.backend.test_shared_storage import ROWS, SHA256, downloaded
from tests.support.backend import BackendProcess, Client, Frame, is_running
from tests.support.databases import server, shared_only
from tests.support.eventually import eventually

pytestmark = shared_only


@pytest.fixture
def pair(start: Callable[..., BackendProcess], tmp_path: Path) -> tuple[BackendProcess, BackendProcess]:
    """Two that share a folder. The first trains, as it is asked first."""
    return two(start, str(tmp_path / "storage"))


def two(start: Callable[..., BackendProcess], storage: str, **options: Any) -> tuple[BackendProcess, BackendProcess]:
    first = start(storage=storage, **options)
    return first, start(beside=first, storage=storage, **options)


def told(frames: list[Frame]) -> list[tuple[str, int | None]]:
    return [(frame.event, frame.data.get("step")) for frame in frames]


def steps(count: int) -> list[tuple[str, int | None]]:
    logs: list[tuple[str, int | None]] = [("training.log", step) for step in range(1, count + 1)]
    return [("training.started", None), *logs, ("training.completed", None)]


def both(pair: tuple[BackendProcess, BackendProcess]) -> tuple[Client, Client]:
    client = pair[0].client()
    return client, pair[1].client_as(client)


def running(pair: tuple[BackendProcess, BackendProcess], job_id: str) -> tuple[BackendProcess, BackendProcess]:
    """Return the backend that has a job's worker, and the other one."""
    places = [backend for backend in pair if (backend.job_dir(job_id) / "pid-1").exists()]
    return (places[0], pair[0] if places[0] is pair[1] else pair[1])


def test_any_server_answers_any_request(pair: tuple[BackendProcess, BackendProcess], config: dict[str, Any]) -> None:
    """A job that was submitted to one is followed at the other, as it goes on."""
    here, there = both(pair)
    job_id = here.submit("gated:3", config).json()["job"]["id"]
    stream = there.open_stream(job_id)
    seen = stream.until("training.started")
    place, _ = running(pair, job_id)
    place.allow(job_id, 1)
    seen += stream.until("training.log")
    place.allow(job_id, 3)
    seen += stream.events()
    assert [one for one in told(seen) if one[0] != "ping"] == steps(3)
    assert there.job(job_id)["status"] == "completed"


def test_a_cancel_reaches_a_worker_of_another_server(
    pair: tuple[BackendProcess, BackendProcess], config: dict[str, Any]
) -> None:
    here, _ = both(pair)
    job_id = here.submit("hang", config).json()["job"]["id"]
    here.open_stream(job_id).until("training.started")
    place, other = running(pair, job_id)
    pid = place.worker_pid(job_id)
    other.client_as(here).cancel(job_id)
    eventually(lambda: not is_running(pid), "the worker is gone")
    here.wait_for(job_id, "cancelled")


def test_a_worker_of_a_server_that_is_gone_is_taken_over(
    pair: tuple[BackendProcess, BackendProcess], config: dict[str, Any]
) -> None:
    """Within a lease, and it goes on: one attempt, each event once. The server that comes back leaves it alone."""
    here, _ = both(pair)
    job_id = here.submit("gated:4", config).json()["job"]["id"]
    here.open_stream(job_id).until("training.started")
    place, other = running(pair, job_id)
    pid = place.worker_pid(job_id)
    eventually(lambda: f"Other servers: {other.url}" in place.log, "it knows the other server")
    stream = here.open_stream(job_id)
    for step in (1, 2):  # the second report comes after the answer to the first one
        place.allow(job_id, step)
        stream.until("training.log")
    place.kill()
    client = other.client_as(here)
    eventually(lambda: f"Job {job_id}, attempt 1: found running" in other.log, "the worker is taken over")
    place.allow(job_id, 3)
    client.open_stream(job_id, 3).until("training.log")
    place.start()
    place.allow(job_id, 4)
    assert told(client.events(job_id)) == steps(4)
    assert not (place.job_dir(job_id) / "pid-2").exists()
    eventually(lambda: not is_running(pid), "the worker is gone")


def test_the_jobs_of_a_server_and_worker_that_are_gone_go_on_elsewhere(
    pair: tuple[BackendProcess, BackendProcess], config: dict[str, Any]
) -> None:
    here, _ = both(pair)
    job_id = here.submit("gated:3", config).json()["job"]["id"]
    here.open_stream(job_id).until("training.started")
    place, other = running(pair, job_id)
    pid = place.worker_pid(job_id)
    place.kill()
    os.kill(pid, signal.SIGKILL)
    client = other.client_as(here)
    other.allow(job_id, 3)
    seen = told(client.events(job_id))
    assert [one for one in seen if one[0] != "training.interrupted"] == steps(3)
    assert ("training.interrupted", None) in seen


def test_a_job_goes_on_at_another_server_from_its_last_checkpoint(
    start: Callable[..., BackendProcess], where: str, config: dict[str, Any]
) -> None:
    """Its server and its worker are gone. The first server, when it is back, sends the adapter that the other made."""
    pair, storage = two(start, where), open_storage(where)
    here, there = both(pair)
    assert here.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code == 201
    uploaded = {**config, "datasetSource": {"type": "dataset", "id": SHA256}, "saveSteps": 2}
    job_id = there.submit("gated:6", uploaded).json()["job"]["id"]
    here.open_stream(job_id).until("training.started")
    place, other = running(pair, job_id)
    place.allow(job_id, 4)
    mark = f"{keys.job(job_id)}checkpoints/checkpoint-4/complete.json"
    eventually(lambda: storage.size(mark) is not None, "the checkpoint of step 4 is stored")
    pid = place.worker_pid(job_id)
    place.kill()
    os.kill(pid, signal.SIGKILL)
    client = other.client_as(here)
    other.worker_pid(job_id, 2)
    eventually(lambda: other.checkpoint(job_id) == 4, "the other server's worker has fetched the checkpoint")
    other.allow(job_id, 6)
    events = client.events(job_id)
    assert [event.data["step"] for event in events if event.event == "training.log"] == [1, 2, 3, 4, 5, 6]
    assert [event.data["step"] for event in events if event.event == "checkpoint.saved"] == [2, 4, 6]
    place.start()
    back = place.client_as(here)
    for name in ("checkpoint-2", "checkpoint-6", "adapter"):
        content = downloaded(back, job_id, name)
        assert hashlib.sha256(content).digest() == hashlib.sha256(downloaded(client, job_id, name)).digest()
    assert not (place.job_dir(job_id) / "artifacts" / "adapter.tar").exists()


def test_old_jobs_go_once(start: Callable[..., BackendProcess], tmp_path: Path, config: dict[str, Any]) -> None:
    """Both servers look for them, and rows that are uploaded meanwhile stay."""
    pair = two(start, str(tmp_path / "storage"), retention=0.5, max_parallel=4)
    storage, config = open_storage(str(tmp_path / "storage")), {**config, "saveSteps": 1}
    here, there = both(pair)
    uploaded = {**config, "datasetSource": {"type": "dataset", "id": SHA256}}
    for _ in range(4):
        assert here.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code in {200, 201}
        answers = [client.submit("complete:2", uploaded) for client in (here, there)]
        # The rows may have gone with the last job that used them, which is said; then they are not there.
        assert {answer.status_code for answer in answers} <= {201, 422}, answers
        for answer in answers:
            if answer.status_code == 201:
                job_id = answer.json()["job"]["id"]
                eventually(lambda: here.get(f"/v1/jobs/{job_id}").status_code == 404, "it has gone")  # noqa: B023
    eventually(lambda: storage.keys(keys.JOBS) == [], "the files of all jobs have gone")
    assert here.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code in {200, 201}
    assert storage.read(keys.dataset(SHA256)) == ROWS
    for backend in pair:
        assert "Traceback" not in backend.log
        assert "could be removed" not in backend.log


def test_jobs_outlive_a_database_that_goes_away(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Its connections are cut, and it is killed and started again: the attempt goes on, and no event is lost."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:6", config).json()["job"]["id"]
    stream = client.open_stream(job_id)
    stream.until("training.started")
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'arkor'"
    for step in range(1, 4):
        server().sql(cut)
        backend.allow(job_id, step)
    server().end()
    backend.allow(job_id, 5)
    answers = [client.request("GET", f"/v1/jobs/{job_id}").status_code for _ in range(3)]
    assert answers == [503, 503, 503]
    threading.Timer(2.0, server().start).start()
    eventually(lambda: client.request("GET", f"/v1/jobs/{job_id}").status_code == 200, "the database is back", 20.0)
    backend.allow(job_id, 6)
    assert told(client.events(job_id)) == steps(6)
