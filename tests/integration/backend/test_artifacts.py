"""Downloading what a job made."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import Any

import pytest

from tests.support.backend import BackendProcess, Client


@pytest.fixture
def job_id(client: Client, config: dict[str, Any]) -> str:
    """A job that has saved a checkpoint at step 2 and completed."""
    job_id = str(client.submit("complete:3", {**config, "saveSteps": 2}).json()["job"]["id"])
    client.events(job_id)
    return job_id


def test_artifacts_are_listed_and_downloaded(client: Client, job_id: str) -> None:
    """The list says of each what the download then is."""
    items = client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]
    assert [(item["name"], item["kind"], item.get("step")) for item in items] == [
        ("checkpoint-2", "adapter", 2),
        ("adapter", "adapter", None),
    ]
    for item in items:
        answer = client.get(f"/v1/jobs/{job_id}/artifacts/{item['name']}")
        assert answer.headers["Content-Type"] == "application/x-tar"
        assert answer.headers["ETag"] == f'"{item["sha256"]}"'
        assert len(answer.content) == item["sizeBytes"]
        assert hashlib.sha256(answer.content).hexdigest() == item["sha256"]
        with tarfile.open(fileobj=io.BytesIO(answer.content)) as archive:
            assert archive.getnames() == ["adapter_config.json", "adapter_model.safetensors"]


def test_a_download_can_be_resumed(client: Client, job_id: str) -> None:
    """Range gives the rest, as long as it is still the same file."""
    path = f"/v1/jobs/{job_id}/artifacts/adapter"
    whole = client.get(path)
    etag, size = whole.headers["ETag"], len(whole.content)
    rest = client.get(path, headers={"Range": "bytes=100-", "If-Range": etag})
    assert (rest.status_code, rest.content) == (206, whole.content[100:])
    assert rest.headers["Content-Range"] == f"bytes 100-{size - 1}/{size}"
    changed = client.get(path, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole.content)
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    beyond = client.get(path, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, list(beyond.json())) == (416, ["error"])
    assert beyond.headers["Content-Range"] == f"bytes */{size}"


def test_only_registered_names_are_served(client: Client, job_id: str) -> None:
    """No name leads anywhere else."""
    for name in ("other", "adapter.tar", "..%2Fspec.json", "..", "%2e%2e%2f%2e%2e%2fspec", "a%00b"):
        assert client.get(f"/v1/jobs/{job_id}/artifacts/{name}").status_code == 404, name


def test_an_artifact_that_was_deleted_is_410(client: Client, shared: BackendProcess, job_id: str) -> None:
    """Somebody made room on the disk."""
    (shared.job_dir(job_id) / "artifacts" / "adapter.tar").unlink()
    answer = client.get(f"/v1/jobs/{job_id}/artifacts/adapter")
    assert (answer.status_code, list(answer.json())) == (410, ["error"])


def test_a_removed_checkpoint_is_in_no_list(client: Client, shared: BackendProcess, config: dict[str, Any]) -> None:
    """Pages go on behind it all the same; who asks for it learns that it is gone."""
    job_id = client.submit("complete:3", {**config, "saveSteps": 1}).json()["job"]["id"]
    client.events(job_id)
    path = f"/v1/jobs/{job_id}/artifacts"
    (shared.job_dir(job_id) / "artifacts" / "checkpoint-1.tar").unlink()
    names = [item["name"] for item in client.get(path).json()["artifacts"]]
    assert names == ["checkpoint-2", "checkpoint-3", "adapter"]
    first = client.get(path, params={**client.scope, "limit": 1}).json()
    assert (first["artifacts"], first["next"]) == ([], "checkpoint-1")
    second = client.get(path, params={**client.scope, "limit": 1, "after": "checkpoint-1"}).json()
    assert [item["name"] for item in second["artifacts"]] == ["checkpoint-2"]
    assert client.get(f"{path}/checkpoint-1").status_code == 410


def test_a_job_without_artifacts_has_an_empty_list(client: Client, config: dict[str, Any]) -> None:
    """It failed before it made one."""
    job_id = client.submit("fail", config).json()["job"]["id"]
    client.events(job_id)
    assert client.get(f"/v1/jobs/{job_id}/artifacts").json() == {"artifacts": []}
