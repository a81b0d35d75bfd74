"""Imports over HTTP: taken, repeated, refused, and what a crash, a kill, a stop and a deletion do to them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.support.backend import BackendProcess, Client, is_running
from tests.support.eventually import eventually

FILES = {"adapter_config.json": b"{}", "adapter_model.safetensors": b"weights"}


def tar_of(files: dict[str, bytes]) -> bytes:
    """Return a tar of files."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def post(client: Client, model: str, key: str = "", does: str = "", **query: str) -> requests.Response:
    """Import an adapter; ``scripted_import`` says what it does."""
    config = {"scripted": does} if does else {}
    body = tar_of({**FILES, "adapter_config.json": json.dumps(config).encode()})
    asked = {"name": "mine", "model": model, "source": "owner/mine", "sha256": hashlib.sha256(body).hexdigest()}
    headers = {"Idempotency-Key": key} if key else {}
    return client.request(
        "POST", "/v1/jobs/import", params={**client.scope, **asked, **query}, data=body, headers=headers
    )


def begun(backend: BackendProcess) -> int:
    """Return the process id of the check that holds."""
    eventually(lambda: bool(list(backend.data.glob("jobs/*/import/pid"))), "the check holds")
    (file,) = backend.data.glob("jobs/*/import/pid")
    return int(file.read_text())


def folders(backend: BackendProcess) -> list[str]:
    """Return the folders of jobs."""
    return sorted(folder.name for folder in backend.data.glob("jobs/*"))


def test_an_import_is_a_finished_job(client: Client, shared: BackendProcess, model: str) -> None:
    """With one event, one artifact, and nothing else on the disk; it is listed, and it answers."""
    answer = post(client, model, revision="abc")
    assert answer.status_code == 201, answer.text
    job = answer.json()["job"]
    assert (job["status"], job["name"], job["promptForm"]) == ("completed", "mine", "chat")
    source = {"type": "imported", "name": "owner/mine", "revision": "abc"}
    assert job["config"] == {"model": model, "datasetSource": source, "loraR": 8}
    assert client.get("/v1/jobs").json()["jobs"] == [job]
    [event] = client.events(job["id"])
    [artifact] = client.get(f"/v1/jobs/{job['id']}/artifacts").json()["artifacts"]
    assert (event.event, event.data["artifacts"]) == ("training.completed", [artifact])
    tar = client.get(f"/v1/jobs/{job['id']}/artifacts/adapter").content
    assert hashlib.sha256(tar).hexdigest() == artifact["sha256"]
    left = shared.job_dir(job["id"]).rglob("*")
    assert sorted(path.name for path in left) == ["adapter.tar", "artifacts"]
    asked = {"messages": [{"role": "user", "content": "say:a"}], "adapter": {"kind": "final", "jobId": job["id"]}}
    assert client.request("POST", "/v1/inference/chat", json={**asked, "stream": False}).status_code == 200
    assert client.request("POST", f"/v1/jobs/{job['id']}/resume").status_code == 409
    assert client.request("DELETE", f"/v1/jobs/{job['id']}").status_code == 204
    assert not shared.job_dir(job["id"]).exists()


def test_a_repeat_with_the_same_key_finds_the_first(client: Client, shared: BackendProcess, model: str) -> None:
    """Another request under it is refused; neither leaves a folder."""
    first = post(client, model, "one")
    before = folders(shared)
    again, other = post(client, model, "one"), post(client, model, "one", name="yours")
    assert (first.status_code, again.status_code, other.status_code) == (201, 200, 409)
    assert first.json()["job"]["id"] == again.json()["job"]["id"]
    assert folders(shared) == before


@pytest.mark.parametrize(
    ("query", "status", "error"),
    [
        ({"sha256": "0" * 64}, 400, "The bytes hash to "),
        ({"sha256": "x"}, 400, "sha256: must be the SHA-256 of the body"),
        ({"name": ""}, 422, "name: must be a text of 1 to 200 characters"),
        ({"source": " "}, 422, "source: must be a text of 1 to 2000 characters"),
        ({"revision": ""}, 422, "revision: must be a text of 1 to 2000 characters"),
        ({"model": ""}, 422, "model: must be a text of 1 to 2000 characters"),
        ({"model": "owner/unknown"}, 422, "model: Model 'owner/unknown' is not on the backend's machine"),
        ({"model": "/nowhere"}, 422, "model: The model folder '/nowhere' does not exist on this machine"),
    ],
)
def test_a_bad_request_is_refused(
    client: Client, shared: BackendProcess, model: str, query: dict[str, str], status: int, error: str
) -> None:
    """With what is wrong; there is no job, and no folder of one."""
    before = folders(shared)
    answer = post(client, **{"model": model, **query})
    assert (answer.status_code, answer.json()["error"].startswith(error)) == (status, True), answer.text
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert folders(shared) == before


@pytest.mark.parametrize(
    ("does", "status", "error"),
    [
        ("refuse", 422, "adapter_config.json: r is missing"),
        ("crash", 500, "The adapter could not be checked: Its process ended with exit code 7.\nValueError: scripted"),
    ],
)
def test_an_adapter_that_is_not_taken_leaves_nothing(
    client: Client, shared: BackendProcess, model: str, does: str, status: int, error: str
) -> None:
    """Neither does a process that dies, and the next import works."""
    before = folders(shared)
    answer = post(client, model, does=does)
    assert (answer.status_code, answer.json()["error"].startswith(error)) == (status, True), answer.text
    assert client.get("/v1/jobs").json() == {"jobs": []}
    assert folders(shared) == before
    assert post(client, model).status_code == 201


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_one_that_is_cut_off_leaves_nothing(start: Callable[..., BackendProcess], model: str, end: str) -> None:
    """However the backend ends, no process stays, and the next start knows neither a job nor a folder of one."""
    backend = start()
    client = backend.client()
    said: list[Any] = []

    def ask() -> None:
        try:
            said.append(post(client, model, "one", "hold").status_code)
        except requests.ConnectionError:  # of a backend that was killed
            said.append(503)

    asking = threading.Thread(target=ask)
    asking.start()
    pid = begun(backend)
    getattr(backend, end)()
    asking.join(20)
    assert said == [503]
    eventually(lambda: not is_running(pid), "its process is gone")
    backend.start()
    again = backend.client_as(client)
    assert again.get("/v1/jobs").json() == {"jobs": []}
    eventually(lambda: folders(backend) == [], "nothing is left")
    assert post(again, model, "one").status_code == 201


def test_one_at_a_time_and_not_for_ever(start: Callable[..., BackendProcess], model: str) -> None:
    """A second one has to come back; one that takes too long is given up, and leaves nothing."""
    backend = start(import_limit=3)
    client = backend.client()
    said: list[requests.Response] = []
    asking = threading.Thread(target=lambda: said.append(post(client, model, does="hold")))
    asking.start()
    pid = begun(backend)
    busy = post(client, model)
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "2")
    asking.join(20)
    assert (said[0].status_code, "was not checked within 3 s" in said[0].json()["error"]) == (422, True)
    assert not is_running(pid)
    assert folders(backend) == []


def test_another_project_sees_nothing_of_it(client: Client, shared: BackendProcess, model: str) -> None:
    """Nor may it use the key's job."""
    job_id = post(client, model, "one").json()["job"]["id"]
    stranger = shared.client()
    assert stranger.get(f"/v1/jobs/{job_id}").status_code == 404
    assert post(stranger, model, "one").json()["job"]["id"] != job_id
