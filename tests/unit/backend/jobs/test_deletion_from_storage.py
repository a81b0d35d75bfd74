"""Deleting a job whose storage is another place than the data folder, and cannot be used for a while."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from arkor.backend.storage import keys
from arkor.backend.storage.marks import Marks
from arkor.backend.store.jobs import NewJob
from arkor.errors import StorageError

CONFIG = {"model": "m", "datasetSource": {"type": "huggingface", "name": "owner/rows"}}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    backend = Backend(Settings(data=tmp_path / "data", storage=str(tmp_path / "shared")), "http://127.0.0.1:1")
    yield backend
    backend.close()


@pytest.fixture
def job_id(backend: Backend) -> str:
    """A job that has ended, with an artifact."""
    _, identity = backend.store.tenants.create_anonymous("cli")
    project = backend.store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    job_id = backend.store.jobs.create(project, NewJob(name="n", config=CONFIG), CONFIG)[0].id
    backend.store.jobs.cancel(job_id)
    backend.storage.write(keys.artifact(job_id, "adapter"), b"x")
    return job_id


def away(*_: object) -> None:
    """Stand in for a storage without a network."""
    raise StorageError("S3 gave no answer", "s3://bucket")


def test_files_that_stay_are_removed_later(
    backend: Backend, job_id: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is gone at once; its mark stays until its files are gone, a day later."""
    with monkeypatch.context() as patches:
        patches.setattr(backend.storage, "delete_all", away)
        assert backend.delete(job_id)
    assert f"Not all files of job {job_id} could be removed: S3 gave no answer" in caplog.text
    assert job_id not in backend.store.jobs.ids()
    backend.deleter.settle()
    assert backend.storage.keys("unsettled/") == [keys.unsettled(job_id)]
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    backend.deleter._marks = Marks(backend.storage, backend.settings.data, lambda: tomorrow)
    backend.deleter.settle()
    assert backend.storage.keys("unsettled/") + backend.storage.keys(keys.job(job_id)) == []


def test_nothing_is_deleted_without_a_mark(backend: Backend, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill would leave files that nobody looks for."""
    monkeypatch.setattr(backend.storage, "write", away)
    with pytest.raises(StorageError):
        backend.delete(job_id)
    assert job_id in backend.store.jobs.ids()
    assert backend.storage.size(keys.artifact(job_id, "adapter")) == 1
