"""A backend whose storage is not its data folder: another folder, or S3. Work folders may vanish at any time."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import tarfile
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.storage import keys
from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.interface import Storage
from arkor.backend.storage.local import SERVER_LOCK
from tests.integration.backend.test_imports import post as post_import
from tests.support import s3
from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually
from tests.support.job_tasks import TaskCalls

ROWS = b'{"text": "a row of this test"}\n' * 4
SHA256 = hashlib.sha256(ROWS).hexdigest()
OTHER_ROWS = ROWS.replace(b"this", b"another")
OTHER_SHA256 = hashlib.sha256(OTHER_ROWS).hexdigest()


@pytest.fixture(scope="module")
def storage(where: str) -> Storage:
    """The storage, as the backend's processes see it."""
    return open_storage(where)


@pytest.fixture(scope="module")
def backend(where: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend with that storage."""
    running = BackendProcess(tmp_path_factory.mktemp("backend"), storage=where).start()
    yield running
    running.close()


@pytest.fixture
def client(backend: BackendProcess) -> Client:
    """A new identity at that backend."""
    return backend.client()


def vanish(backend: BackendProcess, job_id: str) -> None:
    """Remove a job's work folder, as on a machine that is there no more."""
    shutil.rmtree(backend.job_dir(job_id))


def downloaded(client: Client, job_id: str, name: str = "adapter") -> bytes:
    """Download an artifact, and compare it with what is said of it."""
    items = {item["name"]: item for item in client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]}
    answer = client.get(f"/v1/jobs/{job_id}/artifacts/{name}")
    assert answer.status_code == 200, answer.text
    assert hashlib.sha256(answer.content).hexdigest() == items[name]["sha256"]
    assert len(answer.content) == items[name]["sizeBytes"]
    return answer.content


def trained(backend: BackendProcess, client: Client, config: dict[str, Any], name: str = "complete:4") -> str:
    """Train a job that leaves two checkpoints, whose work folder vanishes then."""
    job_id = str(client.submit(name, {**config, "saveSteps": 2}).json()["job"]["id"])
    client.events(job_id)
    backend.wait_settled(job_id)
    vanish(backend, job_id)
    return job_id


def test_a_job_goes_on_without_its_work_folder(
    prepare: Callable[..., BackendProcess], where: str, config: dict[str, Any], storage: Storage
) -> None:
    """Its worker was killed: nothing is computed again that a checkpoint has, and each artifact can be downloaded."""
    backend = prepare(storage=where).start()
    client = backend.client()
    job_id = client.submit("gated:6", {**config, "saveSteps": 2}).json()["job"]["id"]
    backend.allow(job_id, 4)
    mark = f"jobs/{job_id}/checkpoints/checkpoint-4/complete.json"
    eventually(lambda: storage.size(mark) is not None, "the checkpoint of step 4 is stored")
    first = backend.worker_pid(job_id)
    # Nothing starts the next attempt between the kill and the removal.
    backend.kill()
    os.kill(first, signal.SIGKILL)
    vanish(backend, job_id)
    backend.start()
    again = backend.client_as(client)
    backend.worker_pid(job_id, 2)
    eventually(lambda: backend.checkpoint(job_id) == 4, "the checkpoint is fetched")
    backend.allow(job_id, 6)
    events = again.events(job_id)
    assert [event.data["step"] for event in events if event.event == "training.log"] == [1, 2, 3, 4, 5, 6]
    assert [event.data["step"] for event in events if event.event == "checkpoint.saved"] == [2, 4, 6]
    assert again.job(job_id)["status"] == "completed"
    for name in ("checkpoint-2", "checkpoint-4", "checkpoint-6", "adapter"):
        with tarfile.open(fileobj=io.BytesIO(downloaded(again, job_id, name))) as archive:
            assert archive.getnames() == ["adapter_config.json", "adapter_model.safetensors"]
    steps = {key.split("/")[3] for key in storage.keys(f"jobs/{job_id}/checkpoints/")}
    assert steps == {"checkpoint-6"}  # the scripted worker leaves it; older ones went


def test_a_download_can_be_resumed(backend: BackendProcess, client: Client, config: dict[str, Any]) -> None:
    """As from the data folder: parts, the same ETag, and what is not asked for again."""
    job_id = trained(backend, client, config)
    path, whole = f"/v1/jobs/{job_id}/artifacts/adapter", downloaded(client, job_id)
    head = client.request("HEAD", path)
    assert (head.headers["Content-Length"], head.headers["Content-Type"]) == (str(len(whole)), "application/x-tar")
    etag = head.headers["ETag"]
    assert etag == f'"{hashlib.sha256(whole).hexdigest()}"'
    assert "filename=adapter.tar" in head.headers["Content-Disposition"]
    for wanted, part in (("bytes=100-", whole[100:]), ("bytes=10-19", whole[10:20]), ("bytes=-7", whole[-7:])):
        rest = client.get(path, headers={"Range": wanted, "If-Range": etag})
        assert (rest.status_code, rest.content) == (206, part)
    changed = client.get(path, headers={"Range": "bytes=100-", "If-Range": '"another"'})
    assert (changed.status_code, changed.content) == (200, whole)
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 304
    beyond = client.get(path, headers={"Range": f"bytes={len(whole)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole)}")


def test_a_new_job_goes_on_from_a_stored_checkpoint(
    backend: BackendProcess, client: Client, config: dict[str, Any]
) -> None:
    """The job that left it is deleted meanwhile."""
    former = trained(backend, client, config, "stumble:fail@2/4")
    resumed = client.request("POST", f"/v1/jobs/{former}/resume")
    assert resumed.status_code == 201, resumed.text
    job = resumed.json()["job"]
    assert job["resumedFrom"] == {"jobId": former, "step": 2}
    assert client.request("DELETE", f"/v1/jobs/{former}").status_code == 204
    events = client.events(job["id"])
    assert [event.data["step"] for event in events if event.event == "training.log"] == [3, 4]
    assert downloaded(client, job["id"])


def test_an_adapter_answers_and_is_trained_further(
    backend: BackendProcess, client: Client, config: dict[str, Any], storage: Storage
) -> None:
    """Neither needs the work folder."""
    job_id = trained(backend, client, config)
    ref = {"kind": "final", "jobId": job_id}
    asked = {"adapter": ref, "messages": [{"role": "user", "content": "say:hello"}]}
    for _ in range(2):
        answer = client.request("POST", "/v1/inference/chat", json={**asked, "stream": False})
        assert answer.status_code == 200, answer.text
        assert "hello" in answer.text
    further = client.submit("complete:1", {**config, "baseAdapter": ref})
    assert further.status_code == 201, further.text
    key = f"jobs/{further.json()['job']['id']}/base-adapter.tar"
    assert storage.read(key) == downloaded(client, job_id)


def test_a_lost_artifact_is_named(
    backend: BackendProcess, client: Client, config: dict[str, Any], storage: Storage
) -> None:
    """Somebody removed it from the storage."""
    job_id = trained(backend, client, config)
    storage.delete([keys.artifact(job_id, "checkpoint-2")])
    gone = f"Artifact checkpoint-2 of job {job_id} is no longer in the backend's storage."
    ref = {"kind": "checkpoint", "jobId": job_id, "step": 2}
    asked = {"adapter": ref, "messages": [{"role": "user", "content": "say:hello"}]}
    answers = [
        client.get(f"/v1/jobs/{job_id}/artifacts/checkpoint-2"),
        client.request("POST", "/v1/inference/chat", json=asked),
    ]
    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(410, gone)] * 2
    refused = client.submit("complete:1", {**config, "baseAdapter": ref})
    assert (refused.status_code, refused.json()["error"]) == (422, f"base_adapter: {gone}")
    names = [item["name"] for item in client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]]
    assert names == ["checkpoint-4", "adapter"]


def test_uploaded_rows_are_in_the_storage(
    backend: BackendProcess, client: Client, config: dict[str, Any], storage: Storage
) -> None:
    """And nowhere else; they go with the last job that used them."""
    config = {**config, "datasetSource": {"type": "dataset", "id": SHA256}}
    refused = client.submit("complete:1", config)
    assert (refused.status_code, "upload it first" in refused.text) == (422, True)
    for status in (201, 200):
        assert client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code == status
    assert client.get(f"/v1/datasets/{SHA256}").json()["dataset"]["rows"] == 4
    assert storage.read(keys.dataset(SHA256)) == ROWS
    assert list((backend.data / "datasets").iterdir()) == []
    job_id = trained(backend, client, config)
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert storage.keys(keys.job(job_id)) + storage.keys("unsettled/") == []
    assert storage.size(keys.dataset(SHA256)) is None
    assert client.get(f"/v1/datasets/{SHA256}").status_code == 404
    assert not backend.job_dir(job_id).exists()


def test_rows_that_somebody_removed_are_asked_for_again(client: Client, storage: Storage) -> None:
    """An upload brings them back."""
    path = f"/v1/datasets/{OTHER_SHA256}"
    assert client.request("PUT", path, data=OTHER_ROWS).status_code == 201
    storage.delete([keys.dataset(OTHER_SHA256)])
    assert client.get(path).status_code == 404
    assert client.request("PUT", path, data=OTHER_ROWS).status_code == 200
    assert client.get(path).status_code == 200


@pytest.mark.parametrize("kind", ["evaluation", "export"])
def test_reports_and_exports_are_stored(
    backend: BackendProcess, client: Client, config: dict[str, Any], kind: str
) -> None:
    """The adapter comes out of the storage, and so does what was made, without a work folder."""
    job_id, calls = trained(backend, client, config), TaskCalls(kind)
    options: dict[str, Any] = {"limit": 5} if kind == "evaluation" else {"to": "adapter"}
    made = calls.post(client, job_id, **options).json()[kind]
    done = calls.ended(client, job_id, made["id"])
    assert done["status"] == "completed", done
    vanish(backend, job_id)
    assert downloaded(client, job_id, done["artifact"])
    if kind == "evaluation":
        report = client.get(f"/v1/jobs/{job_id}/evaluations/{made['id']}/report")
        assert report.json()["candidates"] == ["base", "adapter"]
        assert report.headers["Content-Type"] == "application/json"


def test_an_imported_adapter_is_stored(backend: BackendProcess, client: Client, model: str, storage: Storage) -> None:
    """One that is refused leaves nothing."""
    made = post_import(client, model)
    assert made.status_code == 201, made.text
    job_id = made.json()["job"]["id"]
    vanish(backend, job_id)
    assert downloaded(client, job_id)
    before = storage.keys("jobs/")
    assert post_import(client, model, does="refuse").status_code == 422
    assert storage.keys("jobs/") == before
    assert storage.keys(keys.job(job_id)) == [keys.artifact(job_id, "adapter")]
    assert storage.keys("unsettled/") == []


def test_what_a_killed_server_left_goes_after_a_day(
    prepare: Callable[..., BackendProcess], where: str, config: dict[str, Any]
) -> None:
    """Only what has a mark: the objects of another database stay."""
    storage = open_storage(f"{where}/own")
    backend = prepare(storage=storage.url).start()
    kept = trained(backend, backend.client(), config)
    backend.stop()
    orphans = ["job_" + "a" * 20, "b" * 64, "job_" + "c" * 20]
    for key in (f"jobs/{orphans[0]}/base-adapter.tar", keys.dataset(orphans[1]), f"jobs/{orphans[2]}/base-adapter.tar"):
        storage.write(key, b"x")
    foreign = [keys.dataset("d" * 64), f"jobs/job_{'e' * 20}/artifacts/adapter.tar"]
    for key in foreign:
        storage.write(key, b"x")
    long_ago = datetime.now(timezone.utc) - timedelta(days=1, minutes=1)
    for name, at in (
        (orphans[0], long_ago),
        (orphans[1], long_ago),
        (kept, long_ago),
        (orphans[2], datetime.now(timezone.utc)),
    ):
        storage.write(keys.unsettled(name), at.isoformat().encode())
    backend.start()
    eventually(lambda: storage.keys("unsettled/") == [keys.unsettled(orphans[2])], "old marks are settled")
    assert storage.keys("datasets/") == foreign[:1]
    found = {key.split("/")[1] for key in storage.keys("jobs/")}
    assert found == {kept, orphans[2], f"job_{'e' * 20}"}
    backend.stop()


# S3


@pytest.fixture
def s3_where(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage in S3."""
    for name, value in {**s3.VARIABLES, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)
    return f"s3://{s3.BUCKET}/own"


def test_secrets_stay_in_the_environment(
    prepare: Callable[..., BackendProcess], s3_where: str, config: dict[str, Any]
) -> None:
    """Not in a spec, a log or the database."""
    backend = prepare(storage=s3_where).start()
    client = backend.client()
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    backend.worker_pid(job_id)
    spec = (backend.job_dir(job_id) / "spec.json").read_text()
    assert f'"storage": "{s3_where}"' in spec
    backend.allow(job_id, 1)
    client.wait_for(job_id, "completed")
    backend.stop()
    for file in backend.folder.rglob("*"):
        if file.is_file():
            assert s3.VARIABLES["AWS_SECRET_ACCESS_KEY"].encode() not in file.read_bytes(), file
    assert s3.VARIABLES["AWS_SECRET_ACCESS_KEY"] not in spec


def test_a_storage_that_cannot_be_used_stops_the_start(
    prepare: Callable[..., BackendProcess], s3_where: str, tmp_path: Path
) -> None:
    """With the reason."""
    (tmp_path / "file").touch()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / SERVER_LOCK).touch()
    for where, reason in (
        ("s3://no-such-bucket", "There is no bucket 'no-such-bucket'"),
        (str(tmp_path / "file"), "cannot be written"),
        (str(tmp_path / "data"), "is the data folder of a server"),
        ("ftp://x", "name a folder or s3://"),
    ):
        backend = prepare(storage=where, storage_patience=0.5)
        assert backend.launch().wait(30) == 3
        assert reason in backend.log


def test_a_storage_that_is_away_is_an_error_of_the_request(
    prepare: Callable[..., BackendProcess], s3_where: str, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It passes: the server goes on."""
    with s3.cutter(endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        backend = prepare(storage=s3_where, storage_patience=0.5).start()
        client = backend.client()
        between.cut("up", 0, times=1000)
        answer = client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS)
        assert (answer.status_code, "gave no whole answer" in answer.json()["error"]) == (503, True)
        between.cut("up", 0, times=0)
        assert client.request("PUT", f"/v1/datasets/{SHA256}", data=ROWS).status_code == 201
        backend.stop()
