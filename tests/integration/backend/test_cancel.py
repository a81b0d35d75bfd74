"""Cancelling: queued, running, hanging, ended."""

from __future__ import annotations

from typing import Any

from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually


def test_a_queued_job_is_cancelled_at_once(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """It never had a worker, and its stream ends."""
    first = client.submit("gated:1", config).json()["job"]["id"]
    client.wait_for(first, "running")
    queued = client.submit("complete:1", config).json()["job"]["id"]
    answer = client.cancel(queued)
    assert (answer.status_code, answer.json()["job"]["status"]) == (200, "cancelled")
    assert [frame.event for frame in client.events(queued)] == ["training.cancelled"]
    assert "startedAt" not in client.job(queued)
    shared.allow(first, 1)
    client.events(first)
    assert not shared.job_dir(queued).exists()


def test_a_running_job_stops_and_keeps_what_it_has(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """The worker hears it from its next report, and says itself where it stopped."""
    job_id = client.submit("gated:5", {**config, "saveSteps": 2}).json()["job"]["id"]
    shared.allow(job_id, 2)
    stream = client.open_stream(job_id)
    stream.until("checkpoint.saved")
    answer = client.cancel(job_id)
    assert (answer.status_code, answer.json()["job"]["status"]) == (200, "running")
    frames = stream.events()
    assert [(frame.event, frame.data.get("step")) for frame in frames] == [("training.cancelled", 2)]
    assert client.job(job_id)["status"] == "cancelled"
    assert [item["name"] for item in client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]] == ["checkpoint-2"]


def test_a_worker_that_heeds_nothing_is_killed_with_its_children(
    client: Client, shared: BackendProcess, config: dict[str, Any]
) -> None:
    """Once the grace is over, the job is cancelled all the same."""
    job_id = client.submit("hang", config).json()["job"]["id"]
    stream = client.open_stream(job_id)
    stream.until("training.started")
    pid = shared.worker_pid(job_id)
    child = int((shared.job_dir(job_id) / "child-pid").read_text())
    assert is_running(pid)
    assert is_running(child)
    assert client.cancel(job_id).status_code == 200
    assert client.cancel(job_id).status_code == 200
    assert [frame.event for frame in stream.events()] == ["training.cancelled"]
    eventually(lambda: not is_running(pid) and not is_running(child), "worker and child are gone")
    job = client.job(job_id)
    assert job["status"] == "cancelled"
    assert "error" not in job


def test_a_job_that_has_ended_cannot_be_cancelled(client: Client, config: dict[str, Any]) -> None:
    """409, and it stays what it was."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    frames = client.events(job_id)
    answer = client.cancel(job_id)
    assert answer.status_code == 409
    assert job_id in answer.json()["error"]
    assert client.job(job_id)["status"] == "completed"
    assert client.events(job_id) == frames
