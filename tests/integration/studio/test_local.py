"""Studio and a real backend: this user's own, which comes and goes while the page stays open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("plotly")
pytest.importorskip("sqlalchemy")

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from tests.support.backend import BackendProcess, Client, own_backend
from tests.support.studio_server import Served, served
from tests.support.tiny_model import write_tiny_model


@pytest.fixture
def backend(home: Path) -> Iterator[BackendProcess]:
    """A backend with scripted workers where this user's own is looked for."""
    with own_backend(home) as running:
        yield running


@pytest.fixture
def client(backend: BackendProcess, project: Path) -> Client:
    """The same identity and project that Studio finds."""
    ours = CloudApiClient.connect("local")
    scope = ensure_project(ours, project)
    ours.close()
    return Client(backend.url, ours.identity.token, scope.org_slug, scope.project_slug)


@pytest.fixture
def page() -> Iterator[Served]:
    """Studio's server, with ``--local``."""
    with served(local=True, ping_s=0.3) as one:
        yield one


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """The least that a job needs, and a checkpoint."""
    source = {"type": "blob", "url": "https://example.com/rows.jsonl", "token": "SECRET"}
    return {"model": str(write_tiny_model(tmp_path)), "datasetSource": source, "saveSteps": 2}


def test_a_job_is_followed_over_a_restart_of_the_backend(
    backend: BackendProcess, client: Client, page: Served, config: dict[str, Any]
) -> None:
    """At another address: the stream goes on behind its last event, and every other call finds it too."""
    job_id = client.submit("gated:3", config).json()["job"]["id"]
    backend.allow(job_id, 1)
    events = page.events(job_id)
    first = events.until("training.log")
    assert page.get(f"/api/jobs/{job_id}/metrics").json()["total"] == 1
    old = backend.url
    with backend.lock():  # nobody starts one meanwhile
        backend.stop()
        backend.start()
    assert backend.url != old
    backend.allow(job_id, 3)
    rest = events.until("end")
    numbers = [int(number) for number, _, _ in [*first, *rest] if number is not None]
    assert numbers == list(range(1, len(numbers) + 1))
    assert [name for _, name, _ in rest][-2:] == ["training.completed", "end"]
    told = page.get(f"/api/jobs/{job_id}/metrics").json()
    assert (told["total"], told["ended"], told["lastEventId"]) == (3, True, str(numbers[-1]))


def test_a_job_is_paused_and_goes_on(
    backend: BackendProcess, client: Client, page: Served, config: dict[str, Any]
) -> None:
    """Its events reach the page, also those that are neither of a worker nor of an end; its figures are complete."""
    job_id = client.submit("gated:3", config).json()["job"]["id"]
    backend.allow(job_id, 1)
    events = page.events(job_id)
    events.until("training.log")
    assert page.post(f"/api/jobs/{job_id}/pause").status_code == 200
    reason = events.until("training.paused")[-1][2]["reason"]
    job = page.get(f"/api/jobs/{job_id}").json()["job"]
    assert (job["status"], job["pauseReason"]) == ("paused", reason)
    told = page.get(f"/api/jobs/{job_id}/metrics").json()
    assert (told["total"], told["ended"], told["lines"][-1]["type"]) == (1, False, "training.paused")
    assert page.post(f"/api/jobs/{job_id}/unpause").json()["job"]["status"] in {
        "queued",
        "running",
    }  # the scheduler may have been awake
    backend.allow(job_id, 3)
    assert [name for _, name, _ in events.until("end")][:2] == ["training.unpaused", "training.log"]
    told = page.get(f"/api/jobs/{job_id}/metrics").json()
    assert ([point["step"] for point in told["points"]], told["ended"]) == ([1, 2, 3], True)
    for action in ("pause", "unpause"):
        assert page.post(f"/api/jobs/{job_id}/{action}").status_code == 409


def test_a_job_is_resumed_once(backend: BackendProcess, client: Client, page: Served, config: dict[str, Any]) -> None:
    """From its last whole checkpoint, as a new job that says so; without a checkpoint the backend refuses it."""
    without, job_id = (client.submit(name, config).json()["job"]["id"] for name in ("fail", "stumble:fail@2/4"))
    for failed in (without, job_id):
        client.wait_for(failed, "failed")
        backend.wait_settled(failed)
    key = {"idempotencyKey": "one"}
    refused = page.post(f"/api/jobs/{without}/resume", key)
    assert (refused.status_code, "no whole checkpoint" in refused.json()["error"]) == (409, True)
    new, repeated = (page.post(f"/api/jobs/{job_id}/resume", key).json()["job"] for _ in range(2))
    assert new["resumedFrom"] == {"jobId": job_id, "step": 2}
    assert repeated["id"] == new["id"] != job_id
    assert len(page.get("/api/jobs").json()["jobs"]) == 3


def test_the_start_of_a_long_job_is_told(client: Client, page: Served, config: dict[str, Any]) -> None:
    """It is none of the last 500 events."""
    job_id = client.submit("complete:600", {**config, "saveSteps": 600}).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    told = page.get(f"/api/jobs/{job_id}/metrics").json()
    assert (told["started"]["type"], told["started"]["id"]) == ("training.started", "1")
    assert "training.started" not in {line["type"] for line in told["lines"]}


def test_everything_that_a_job_leaves_can_be_had(client: Client, page: Served, config: dict[str, Any]) -> None:
    """How far it is, its artifacts with their sizes, and the bytes themselves, once an address."""
    job_id = client.submit("complete:3", config).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    jobs = page.get("/api/jobs")
    assert jobs.json()["jobs"][0]["progress"] == {"step": 3, "loss": 1 / 3}
    assert "SECRET" not in jobs.text
    left = page.get(f"/api/jobs/{job_id}/artifacts").json()["artifacts"]
    assert [artifact["name"] for artifact in left] == ["checkpoint-2", "adapter"]
    url = page.post(f"/api/jobs/{job_id}/artifacts/adapter/link").json()["url"]
    sent = page.request("GET", url, headers={"X-Arkor-Studio-Token": ""})
    assert (len(sent.content), sent.headers["Content-Length"]) == (left[1]["sizeBytes"], str(left[1]["sizeBytes"]))
    assert sent.headers["Content-Disposition"] == f'attachment; filename="{job_id}-adapter.tar"'
    assert page.request("GET", url).status_code == 404
    assert page.post(f"/api/jobs/{job_id}/cancel").status_code == 409
    told = page.get("/api/credentials").json()
    assert (told["backend"], told["local"]) == ("arkor-local", True)
    assert page.get("/api/models").json()["models"]
