"""Tokens are nowhere but where they have to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.backend import BackendProcess


def test_no_token_is_in_any_file(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Neither an identity's nor a worker's nor a blob's: not in the database, the logs, or what is left of a job."""
    backend = start()
    client = backend.client()
    source = {
        "type": "blob",
        "url": "https://example.invalid/rows",
        "token": "blob-token-9f3e2a-" * 400,
    }  # fills a page of its own
    job_id = client.submit("gated:1", {**config, "datasetSource": source}).json()["job"]["id"]
    backend.worker_pid(job_id)
    spec = json.loads((backend.job_dir(job_id) / "spec.json").read_text())
    assert spec["config"]["datasetSource"] == source
    assert backend.stop() == 0  # the job is queued again, and keeps the blob's token
    backend.start()
    backend.allow(job_id, 1)
    backend.worker_pid(job_id, 2)
    client = backend.client_as(client)
    assert client.events(job_id)[-1].event == "training.completed"
    client.request("GET", "/v1/me", headers={"Authorization": "Bearer wrong-token-77"})
    backend.wait_settled(job_id)
    assert backend.stop() == 0
    secrets = [client.token, spec["token"], "blob-token-9f3e2a", "wrong-token-77"]
    files = [path for path in backend.folder.rglob("*") if path.is_file()]
    assert {"backend.sqlite3", "backend.log", "worker.log"} <= {path.name for path in files}
    found = [(path.name, secret) for path in files for secret in secrets if _holds(path, secret)]
    assert found == []


def _holds(path: Path, secret: str) -> bool:
    return secret.encode() in path.read_bytes()
