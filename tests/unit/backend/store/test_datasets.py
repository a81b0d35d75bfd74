"""An upload and the deletion of the last job with the same bytes, at the same moment."""

from __future__ import annotations

import hashlib
import io
import threading
from pathlib import Path
from typing import Any

import attrs
import pytest

pytest.importorskip("sqlalchemy")

from flask.testing import FlaskClient

from arkor.backend.backend import Backend
from arkor.backend.jobs import creating
from arkor.backend.jobs.admission import Admitted
from arkor.backend.store import datasets as module
from arkor.backend.store.database import now
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from arkor.backend.uploads import Destination, receive
from arkor.serving.refusal import Refusal
from arkor.version import __version__

ROWS = b'{"text": "a row of this test"}\n'
SHA256 = hashlib.sha256(ROWS).hexdigest()
CONFIG = {"model": "m", "datasetSource": {"type": "dataset", "id": SHA256}}


@attrs.frozen
class Tenant:
    """A user with a project, who speaks with the application."""

    backend: Backend
    http: FlaskClient
    project: Project
    headers: dict[str, str]
    scope: str

    def upload(self) -> int:
        path = f"/v1/datasets/{SHA256}?{self.scope}"
        return self.http.put(path, data=ROWS, headers=self.headers).status_code

    def asks(self) -> int:
        return self.http.get(f"/v1/datasets/{SHA256}?{self.scope}", headers=self.headers).status_code

    def submits(self) -> tuple[int, str]:
        body = {"name": "next", "config": CONFIG}
        answer = self.http.post(f"/v1/jobs?{self.scope}", json=body, headers=self.headers)
        return answer.status_code, answer.get_json().get("error", "")

    def ended_job(self) -> str:
        store = self.backend.store
        job_id = store.jobs.create(self.project, NewJob(name="last", config=CONFIG), CONFIG)[0].id
        assert store.jobs.cancel(job_id)
        return job_id

    @property
    def file(self) -> Path:
        return self.backend.settings.datasets_folder / f"{SHA256}.jsonl"


@pytest.fixture
def tenant(backend: Backend, http: FlaskClient) -> Tenant:
    """A user who has uploaded the rows."""
    token, identity = backend.store.tenants.create_anonymous("cli")
    project = backend.store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    headers = {"Authorization": f"Bearer {token}", "X-Arkor-Client": f"arkor/{__version__}", "Host": "127.0.0.1"}
    tenant = Tenant(backend, http, project, headers, f"orgSlug={identity.org.slug}&projectSlug=p")
    assert tenant.upload() == 201
    return tenant


def test_rows_uploaded_after_the_rows_of_the_table_went_stay(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deletion has found that no project has them, and comes to the file only after the upload."""
    job_id, deletions, answers = tenant.ended_job(), tenant.backend.store.deletions, list[int]()
    delete = deletions.delete

    def delete_then_upload(job_id: str) -> Any:
        unneeded = delete(job_id)
        assert unneeded is not None
        assert unneeded.datasets == {SHA256}
        answers.append(tenant.upload())
        return unneeded

    monkeypatch.setattr(deletions, "delete", delete_then_upload)
    tenant.backend.deleter.delete(job_id)
    assert answers == [201]
    assert tenant.file.read_bytes() == ROWS
    assert tenant.asks() == 200


def test_rows_removed_before_they_are_registered_are_stored_again(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server has found that no project has them, and is quicker."""
    tenant.backend.deleter.delete(tenant.ended_job())
    datasets, storage, places = tenant.backend.store.datasets, tenant.backend.storage, list[bool]()
    put = storage.put

    def put_then_remove(*arguments: Any) -> None:
        put(*arguments)
        if not places:
            datasets.remove_unneeded(SHA256)
        places.append(tenant.file.exists())

    monkeypatch.setattr(storage, "put", put_then_remove)
    assert tenant.upload() == 201
    assert places == [False, True]
    assert tenant.file.read_bytes() == ROWS


def test_rows_checked_before_a_deletion_and_registered_after_it_are_there(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole deletion happens between the two."""
    job_id, datasets = tenant.ended_job(), tenant.backend.store.datasets
    add = datasets.add

    def delete_then_add(*arguments: Any) -> bool:
        tenant.backend.deleter.delete(job_id)
        assert not tenant.file.exists()
        return add(*arguments)

    monkeypatch.setattr(datasets, "add", delete_then_add)
    assert tenant.upload() == 201
    assert tenant.file.read_bytes() == ROWS
    assert tenant.asks() == 200


def test_a_deletion_waits_while_an_upload_is_registered(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is in its place, its row not yet: another project's deletion does not take it."""
    job_id, deletions = tenant.ended_job(), list[threading.Thread]()
    other = _another_project(tenant)

    def now_while_deleting() -> str:
        if not deletions:
            deletions.append(threading.Thread(target=tenant.backend.deleter.delete, args=(job_id,)))
            deletions[0].start()
            deletions[0].join(0.3)
            assert deletions[0].is_alive()
            assert tenant.file.exists()
        return now()

    monkeypatch.setattr(module, "now", now_while_deleting)
    assert other.upload() == 201
    deletions[0].join(10)
    assert tenant.backend.store.jobs.get(tenant.project, job_id) is None
    assert (other.asks(), tenant.asks()) == (200, 404)


@pytest.mark.parametrize("call", ["size", "delete"])
def test_a_storage_that_is_slow_to_answer_holds_up_no_change(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Neither the last look of an upload nor the removal of rows: both have no more than the data set's name locked."""
    job_id, storage, held = tenant.ended_job(), tenant.backend.storage, list[bool]()
    answer = getattr(storage, call)

    def answer_late(*arguments: Any) -> Any:
        change = threading.Thread(target=tenant.backend.store.check, args=(10.0,))
        change.start()
        change.join(10)
        held.append(change.is_alive())
        return answer(*arguments)

    monkeypatch.setattr(storage, call, answer_late)
    if call == "size":
        assert tenant.upload() == 200
    else:
        tenant.backend.deleter.delete(job_id)
    assert held
    assert not any(held)


def test_a_job_whose_rows_were_just_deleted_is_refused(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    """They went after its settings were checked: it would fail with nobody knowing why."""
    job_id = tenant.ended_job()

    def admit_then_delete(config: dict[str, Any], *_: Any, **__: Any) -> Admitted:
        tenant.backend.deleter.delete(job_id)
        return Admitted(config)

    monkeypatch.setattr(creating, "admit", admit_then_delete)
    status, error = tenant.submits()
    assert (status, "upload it again" in error) == (422, True)
    assert not tenant.backend.store.queue.has_work()


def _another_project(tenant: Tenant) -> Tenant:
    tenants = tenant.backend.store.tenants
    identity = tenants.identity_of(tenant.headers["Authorization"].removeprefix("Bearer "))
    assert identity is not None
    project = tenants.create_project(identity.org, "q", "Q")
    assert project is not None
    return attrs.evolve(tenant, project=project, scope=tenant.scope.replace("projectSlug=p", "projectSlug=q"))


def test_an_upload_that_a_kill_cut_leaves_no_file(tenant: Tenant) -> None:
    """The next start removes its file; rows that are whole stay."""
    datasets, folder = tenant.backend.store.datasets, tenant.backend.settings.datasets_folder
    kept: list[Path] = []

    class Cut(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            (file,) = folder.glob(".*")
            kept.append(file)
            return b""

    with pytest.raises(Refusal):
        receive(Cut(), 0, "", SHA256, Destination(folder, 100, lambda _, __: 1, lambda _, __: True))
    kept[0].write_bytes(ROWS)  # as a kill would have left it
    datasets.remove_left_behind()
    assert list(folder.iterdir()) == [tenant.file]
