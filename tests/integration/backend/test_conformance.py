"""What a backend has to do, whatever its database, its storage and its engine of workers are.

Each combination is a cell, with a backend that is asked over HTTP. PostgreSQL, Ray and S3 (moto's server) are real, and
each is started once. In CI, a run has the cells of its step: ``make test`` those that need neither PostgreSQL nor Ray,
``make test-postgresql`` those with PostgreSQL alone, ``make test-ray`` those with Ray; a part that is missing is a
failure. Elsewhere ``make test`` has all cells, and skips those whose parts this machine lacks.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from arkor.backend.storage import keys
from arkor.backend.storage.choose import open_storage
from arkor.backend.storage.interface import Storage
from tests.integration.backend.test_shared_storage import downloaded
from tests.support import ray_cluster, s3
from tests.support.backend import FOUR_STEPS, ROOT, BackendProcess, Client, Frame, is_running
from tests.support.databases import IS_SHARED, postgresql_url, require_postgresql
from tests.support.eventually import eventually
from tests.support.needed import IN_CI

_PATIENCE_S = 30.0
_CPUS = 4  # of the cluster


@attrs.frozen
class Cell:
    """One of the combinations."""

    database: str
    storage: str
    engine: str

    def __str__(self) -> str:
        return f"{self.database}-{self.storage}-{self.engine}"


def cells() -> list[Cell]:
    """Return those of this run."""
    every = [
        Cell(*parts) for parts in itertools.product(("sqlite", "postgresql"), ("folder", "s3"), ("process", "ray"))
    ]
    if ray_cluster.IS_WANTED:
        return [cell for cell in every if cell.engine == "ray"]
    if IS_SHARED or IN_CI:
        database = "postgresql" if IS_SHARED else "sqlite"
        return [cell for cell in every if cell.engine == "process" and cell.database == database]
    return every


@attrs.frozen
class Place:
    """A backend in one of the cells.

    Attributes:
        storage: where its files are.
        has_work_folders: whether the folder of a job may vanish between two attempts.
    """

    backend: BackendProcess
    storage: Storage
    has_work_folders: bool

    def half_done(self, client: Client, config: dict[str, Any]) -> tuple[str, int]:
        """Return a job of four steps that has saved its second one, and its worker's process."""
        job_id = str(client.submit("gated:4", {**config, "saveSteps": 2}).json()["job"]["id"])
        eventually(self.backend.job_dir(job_id).is_dir, "the job has a folder", _PATIENCE_S)
        self.backend.allow(job_id, 2)
        client.open_stream(job_id).until("checkpoint.saved")
        return job_id, self.backend.worker_pid(job_id)

    def log(self, job_id: str) -> str:
        """Return the output of a job's workers, once the last one has left."""
        self.backend.wait_settled(job_id)
        return (self.backend.job_dir(job_id) / "worker.log").read_text()


@pytest.fixture(scope="session")
def cluster(endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ray_cluster.RayCluster]:
    ray_cluster.require_ray()
    home, s3_access = tmp_path_factory.mktemp("nodes"), {**s3.VARIABLES, "AWS_ENDPOINT_URL": endpoint}
    with ray_cluster.ray_cluster({"PYTHONPATH": str(ROOT), "HOME": str(home), **s3_access}, _CPUS) as running:
        yield running


@pytest.fixture(scope="module", params=cells(), ids=str)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    cell: Cell = request.param
    options: dict[str, Any] = {"max_parallel": _CPUS, "cancel_grace": 5.0}
    with pytest.MonkeyPatch.context() as environment:
        if cell.engine == "ray":
            options |= {"engine": "ray", "ray_address": request.getfixturevalue("cluster").address, "lease": 5.0}
        if cell.storage == "s3":
            for name, value in {**s3.VARIABLES, "AWS_ENDPOINT_URL": request.getfixturevalue("endpoint")}.items():
                environment.setenv(name, value)
            options["storage"] = f"s3://{s3.BUCKET}/{cell}"
        if cell.database == "postgresql":
            require_postgresql()
        backend = BackendProcess(tmp_path_factory.mktemp(str(cell)), **options)
        if cell.database == "postgresql":
            backend.database = postgresql_url(backend.data)
        backend.start()
        storage = open_storage(options.get("storage", str(backend.data)))
        yield Place(backend, storage, has_work_folders=cell.storage == "s3")
        backend.close()


@pytest.fixture
def client(place: Place) -> Client:
    """A new identity with a project of its own."""
    return place.backend.client()


def told(frames: list[Frame]) -> list[tuple[str, int | None]]:
    return [(frame.event, frame.data.get("step")) for frame in frames]


def uploaded(client: Client, config: dict[str, Any], text: str) -> tuple[str, dict[str, Any]]:
    """Upload rows; return their SHA-256, and a job's settings with them."""
    rows = json.dumps({"text": text}).encode() + b"\n"
    sha256 = hashlib.sha256(rows).hexdigest()
    assert client.request("PUT", f"/v1/datasets/{sha256}", data=rows).status_code == 201
    return sha256, {**config, "datasetSource": {"type": "dataset", "id": sha256}, "saveSteps": 2}


def test_a_job_trains_on_uploaded_rows(client: Client, config: dict[str, Any]) -> None:
    """Each event comes once and in order, also to a reader that comes back; artifacts are as their events say."""
    _, settings = uploaded(client, config, "trained on")
    job_id = client.submit("complete:4", settings).json()["job"]["id"]
    frames = client.events(job_id)
    assert told(frames) == FOUR_STEPS
    assert [frame.id for frame in frames] == list(range(1, len(FOUR_STEPS) + 1))
    assert client.job(job_id)["status"] == "completed"
    for last in (0, 3, len(frames)):
        assert client.open_stream(job_id, last_event_id=last).events() == frames[last:]
    announced = frames[-1].data["artifacts"]
    assert [one["name"] for one in announced] == ["adapter", "checkpoint-2", "checkpoint-4"]
    for one in announced:
        assert hashlib.sha256(downloaded(client, job_id, one["name"])).hexdigest() == one["sha256"]


def test_a_repeated_submission_is_one_job_and_its_deletion_leaves_nothing(
    place: Place, client: Client, config: dict[str, Any]
) -> None:
    """Neither rows nor checkpoints nor artifacts, in the storage or in the data folder."""
    sha256, settings = uploaded(client, config, "deleted")
    key = {"Idempotency-Key": "once"}
    first, again = (client.submit("complete:2", settings, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    job_id = first.json()["job"]["id"]
    assert again.json()["job"]["id"] == job_id
    client.events(job_id)
    place.backend.wait_settled(job_id)
    stored = place.storage.keys(keys.job(job_id))
    assert {keys.artifact(job_id, "adapter"), f"{keys.job(job_id)}checkpoints/checkpoint-2/complete.json"} <= {*stored}
    assert place.storage.size(keys.dataset(sha256)) is not None
    assert client.request("DELETE", f"/v1/jobs/{job_id}").status_code == 204
    assert place.storage.keys(keys.job(job_id)) + place.storage.keys(keys.UNSETTLED) == []
    assert place.storage.size(keys.dataset(sha256)) is None
    assert not place.backend.job_dir(job_id).exists()
    assert [client.get(f"/v1/{path}").status_code for path in (f"jobs/{job_id}", f"datasets/{sha256}")] == [404, 404]


def test_a_cancelled_job_stops_and_keeps_its_checkpoint(place: Place, client: Client, config: dict[str, Any]) -> None:
    """Its worker says itself at which step."""
    job_id, pid = place.half_done(client, config)
    assert client.cancel(job_id).status_code == 200
    assert told(client.events(job_id)) == [*FOUR_STEPS[:4], ("training.cancelled", 2)]
    assert client.job(job_id)["status"] == "cancelled"
    assert downloaded(client, job_id, "checkpoint-2")
    eventually(lambda: not is_running(pid), "the worker is gone", _PATIENCE_S)


def test_a_paused_job_goes_on_from_its_stored_checkpoint(place: Place, client: Client, config: dict[str, Any]) -> None:
    """As on another machine, where the storage is apart."""
    job_id, pid = place.half_done(client, config)
    assert client.request("POST", f"/v1/jobs/{job_id}/pause").status_code == 200
    eventually(lambda: client.job(job_id)["status"] == "paused", "the job is paused", _PATIENCE_S)
    assert not is_running(pid)
    if place.has_work_folders:
        shutil.rmtree(place.backend.job_dir(job_id))
    assert client.request("POST", f"/v1/jobs/{job_id}/unpause").status_code == 200
    place.backend.allow(job_id, 4)
    events = [*FOUR_STEPS[:4], ("training.paused", 2), ("training.unpaused", None), *FOUR_STEPS[4:]]
    assert told(client.events(job_id)) == events
    assert client.job(job_id)["status"] == "completed"
    assert "attempt 2 begins after step 2" in place.log(job_id)


def test_a_job_whose_worker_is_killed_goes_on(place: Place, client: Client, config: dict[str, Any]) -> None:
    """From its checkpoint, and a step that is done again is not told again."""
    job_id, pid = place.half_done(client, config)
    place.backend.allow(job_id, 3)
    client.open_stream(job_id, last_event_id=4).until("training.log")
    os.kill(pid, signal.SIGKILL)
    place.backend.allow(job_id, 4)
    frames = client.events(job_id)
    assert told(frames) == [*FOUR_STEPS[:5], ("training.interrupted", 3), *FOUR_STEPS[5:]]
    assert [frame.id for frame in frames] == list(range(1, len(frames) + 1))
    assert downloaded(client, job_id)
    assert "attempt 2 begins after step 2" in place.log(job_id)


def test_a_server_that_is_killed_goes_on(place: Place, client: Client, config: dict[str, Any]) -> None:
    """Its workers go on meanwhile; an event is stored before it is acknowledged, and once if its report is repeated."""
    backend, (job_id, pid) = place.backend, place.half_done(client, config)
    other = client.submit("gated:1", config).json()["job"]["id"]
    client.open_stream(other).until("training.started")
    token = json.loads((backend.job_dir(other) / "spec.json").read_bytes())["token"]
    report = {"attempt": 1, "events": [{"seq": 9, "type": "training.log", "step": 1, "loss": 0.5}]}
    assert client.report(other, token, report).status_code == 200
    backend.kill()
    backend.allow(job_id, 3)  # happens while nobody listens
    client = backend.start().client_as(client)
    assert client.report(other, token, report).status_code == 200
    backend.allow(job_id, 4)
    assert told(client.open_stream(job_id, last_event_id=4).events()) == FOUR_STEPS[4:]
    assert client.job(job_id)["status"] == "completed"
    client.cancel(other)
    assert told(client.events(other)) == [*FOUR_STEPS[:2], ("training.cancelled", None)]
    eventually(lambda: not is_running(pid), "the worker is gone", _PATIENCE_S)
    assert not (backend.job_dir(job_id) / "pid-2").exists()
