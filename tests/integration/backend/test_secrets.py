"""Tokens are nowhere but where they have to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.backend import BackendProcess
from tests.support.databases import sqlite_only


@sqlite_only
def test_no_token_is_in_any_file(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Neither an identity's nor a worker's nor a blob's: not in the database, the logs, or what is left of a job."""
    backend = start()
    client = backend.client()
    source = {
        "type": "blob",
        "url": "https://example.invalid/rows",
        "token": "blob-token-9f3e2a-" * 400,
    }  # fills a page of its own
    eval_source = {**source, "token": "eval-token-51c7d0-" * 400}
    sources = {"datasetSource": source, "evalDatasetSource": eval_source}
    job_id = client.submit("gated:1", {**config, **sources}).json()["job"]["id"]
    backend.worker_pid(job_id)
    spec = json.loads((backend.job_dir(job_id) / "spec.json").read_text())
    assert {name: spec["config"][name] for name in sources} == sources
    assert "token" not in json.dumps(client.job(job_id))
    assert backend.stop() == 0  # the job is queued again, and keeps the blob's token
    backend.start()
    backend.allow(job_id, 1)
    backend.worker_pid(job_id, 2)
    client = backend.client_as(client)
    assert client.events(job_id)[-1].event == "training.completed"
    client.request("GET", "/v1/me", headers={"Authorization": "Bearer wrong-token-77"})
    backend.wait_settled(job_id)
    assert backend.stop() == 0
    secrets = [client.token, spec["token"], "blob-token-9f3e2a", "eval-token-51c7d0", "wrong-token-77"]
    files = [path for path in backend.folder.rglob("*") if path.is_file()]
    assert {"backend.sqlite3", "backend.log", "worker.log"} <= {path.name for path in files}
    found = [(path.name, secret) for path in files for secret in secrets if _holds(path, secret)]
    assert found == []


@sqlite_only
@pytest.mark.parametrize(
    ("end", "setting"),
    [
        ("completed", "evalDatasetSource"),
        ("cancelled", "datasetSource"),
        ("deleted", "evalDatasetSource"),
        ("killed", "datasetSource"),
    ],
)
def test_a_blobs_token_leaves_the_disk_when_its_job_ends(
    end: str, setting: str, start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """While the backend goes on: not in the database, its write-ahead log, or the job's folder."""
    backend = start()
    client = backend.client()
    secret = f"blob-token-{end}-" * 100
    url = f"https://example.invalid/rows?signature={secret}"
    source = {"type": "blob", "url": url if end == "deleted" else "https://example.invalid/rows", "token": secret}
    first = client.submit("gated:1", config).json()["job"]["id"]
    if end == "cancelled":
        backend.worker_pid(first)  # so that the other job waits in the queue
    else:
        backend.allow(first, 1)
    job_id = client.submit("gated:1", {**config, setting: source}).json()["job"]["id"]
    assert _names(backend, secret) >= {"backend.sqlite3-wal"}
    if end == "cancelled":
        client.cancel(job_id)
        client.wait_for(job_id, "cancelled")
    else:
        if end == "killed":
            backend.worker_pid(job_id)
            backend.kill()
            backend.start()
            client = backend.client_as(client)
        backend.allow(job_id, 1)
        client.wait_for(job_id, "completed")
        backend.wait_settled(job_id)
    if end == "deleted":
        assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert _names(backend, secret[:30]) == set()


def _names(backend: BackendProcess, secret: str) -> set[str]:
    """Return the names of the files that hold a secret."""
    return {path.name for path in backend.folder.rglob("*") if path.is_file() and _holds(path, secret[:30])}


def _holds(path: Path, secret: str) -> bool:
    return secret.encode() in path.read_bytes()
