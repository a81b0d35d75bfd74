"""Pausing and resuming jobs over HTTP: what is refused, and what outlasts a backend."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually


def _failed(client: Client, backend: BackendProcess, config: dict[str, Any], name: str = "stumble:fail@2/4") -> str:
    """Return a job that has failed, whose worker has left."""
    job_id: str = client.submit(name, {**config, "saveSteps": 2}).json()["job"]["id"]
    client.wait_for(job_id, "failed")
    backend.wait_settled(job_id)
    return job_id


def _post(client: Client, job_id: str, call: str, key: str = "") -> tuple[int, dict[str, Any]]:
    headers = {"Idempotency-Key": key} if key else {}
    answer = client.request("POST", f"/v1/jobs/{job_id}/{call}", headers=headers)
    return answer.status_code, answer.json()


def test_a_job_that_is_saving_can_be_unpaused_in_a_moment(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """503 until its worker has left, here because it was killed; then it goes on."""
    client = start(cancel_grace=1.0).client()
    job_id = client.submit("hang", config).json()["job"]["id"]
    client.open_stream(job_id).until("training.started")
    status, body = _post(client, job_id, "pause")
    assert (status, body["job"]["status"]) == (200, "running")
    status, body = _post(client, job_id, "unpause")
    assert status == 503
    assert "saving a checkpoint" in body["error"]
    job = client.wait_for(job_id, "paused")
    assert job["pauseReason"] == "it was paused by a person"
    status, body = _post(client, job_id, "unpause")
    assert status == 200
    assert body["job"]["status"] in {"queued", "running"}  # the scheduler may have been awake
    assert "pauseReason" not in body["job"]


def test_what_has_ended_is_neither_paused_nor_unpaused(client: Client, config: dict[str, Any]) -> None:
    """409, and it stays as it is."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    assert _post(client, job_id, "pause")[0] == 409
    status, body = _post(client, job_id, "unpause")
    assert (status, body["error"]) == (409, f"Job {job_id} is completed, not paused.")
    assert client.job(job_id)["status"] == "completed"


def test_a_paused_job_stays_paused_when_its_backend_starts_again(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """Until a person unpauses it; it goes on behind its checkpoint."""
    backend = start()
    client = backend.client()
    job_id = client.submit("gated:4", {**config, "saveSteps": 2}).json()["job"]["id"]
    backend.allow(job_id, 2)
    client.open_stream(job_id).until("checkpoint.saved")
    _post(client, job_id, "pause")
    client.wait_for(job_id, "paused")
    backend.stop()
    client = backend.start().client_as(client)
    assert client.job(job_id)["status"] == "paused"
    assert _post(client, job_id, "unpause")[0] == 200
    backend.allow(job_id, 4)
    events = [(frame.event, frame.data.get("step")) for frame in client.events(job_id)]
    assert events == [
        ("training.started", None),
        ("training.log", 1),
        ("training.log", 2),
        ("checkpoint.saved", 2),
        ("training.paused", 2),
        ("training.unpaused", None),
        ("training.log", 3),
        ("training.log", 4),
        ("checkpoint.saved", 4),
        ("training.completed", None),
    ]


def test_a_resumed_job_is_a_job_of_its_own(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """A repeat under its key finds it; another key makes another one; the key of another job is refused."""
    former = _failed(client, shared, config)
    status, body = _post(client, former, "resume", key="one")
    job = body["job"]
    assert (status, job["resumedFrom"], job["name"]) == (201, {"jobId": former, "step": 2}, "stumble:fail@2/4")
    status, body = _post(client, former, "resume", key="one")
    assert (status, body["job"]["id"]) == (200, job["id"])
    assert client.events(job["id"])[-1].event == "training.completed"
    assert _post(client, former, "resume", key="two")[1]["job"]["id"] != job["id"]
    other = _failed(client, shared, config)
    assert _post(client, other, "resume", key="one")[0] == 409
    assert client.job(former)["status"] == "failed"


def test_each_of_the_two_jobs_can_be_deleted(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """The new one has its checkpoint, whatever becomes of the other one."""
    former = _failed(client, shared, config, "stumble:fail@2/6")
    new = _post(client, former, "resume")[1]["job"]["id"]
    client.wait_for(new, "completed")
    assert client.request("DELETE", f"/v1/jobs/{former}").status_code == 204
    assert client.job(new)["resumedFrom"]["jobId"] == former
    backend_answer = client.request("DELETE", f"/v1/jobs/{new}")
    eventually(
        lambda: backend_answer.status_code == 204 or client.request("DELETE", f"/v1/jobs/{new}").status_code == 204,
        "the new job is deleted",
    )


@pytest.mark.parametrize("damage", ["gone", "flipped"])
def test_a_job_without_a_whole_checkpoint_is_not_resumed(
    client: Client, shared: BackendProcess, config: dict[str, Any], damage: str
) -> None:
    """409, and no new job is there."""
    former = _failed(client, shared, config)
    checkpoint = shared.job_dir(former) / "checkpoints" / "checkpoint-2"
    if damage == "gone":
        shutil.rmtree(checkpoint)
    else:
        file = checkpoint / "optimizer.pt"
        file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    before = len(client.get("/v1/jobs").json()["jobs"])
    status, body = _post(client, former, "resume")
    assert status == 409
    assert "no whole checkpoint" in body["error"]
    assert len(client.get("/v1/jobs").json()["jobs"]) == before


def test_a_job_that_completed_is_not_resumed(client: Client, config: dict[str, Any]) -> None:
    """409: there is nothing to go on with."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    eventually(lambda: _post(client, job_id, "resume")[0] == 409, "its worker has left")
