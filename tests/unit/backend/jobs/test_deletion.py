"""What is removed of jobs that are gone, by one of several servers, from a storage that may be away for a while."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

pytest.importorskip("sqlalchemy")

from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from arkor.backend.storage import keys
from arkor.backend.storage.marks import Marks
from arkor.backend.store.datasets import StoredDataset
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from arkor.errors import StorageError
from tests.support.databases import database_url

DAY_S = 24 * 3600.0
CONFIG = {"model": "m", "datasetSource": {"type": "huggingface", "name": "owner/rows"}}


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """One with a storage beside its data folder, which is not started."""
    data = tmp_path / "data"
    made = Backend(
        Settings(data=data, database=database_url(data), storage=str(tmp_path / "storage")), "http://127.0.0.1:1"
    )
    yield made
    made.close()


@pytest.fixture
def make(backend: Backend) -> Callable[[], str]:
    """Make a job that has ended and has a file in the storage; return its id."""
    _, identity = backend.store.tenants.create_anonymous("cli")
    project = backend.store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    return lambda: ended(backend, project)


def ended(backend: Backend, project: Project) -> str:
    job_id = backend.store.jobs.create(project, NewJob(name="x", config=CONFIG), CONFIG)[0].id
    assert backend.store.jobs.cancel(job_id)
    backend.storage.write(keys.artifact(job_id, "adapter"), b"x")
    return job_id


def work_folder(backend: Backend, job_id: str, age_s: float = 0.0) -> Path:
    folder = backend.settings.job_folder(job_id)
    folder.mkdir(exist_ok=True)
    at = time.time() - age_s
    os.utime(folder, (at, at))
    return folder


def test_a_job_is_removed_by_who_took_it_out_of_the_database(
    backend: Backend, make: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who comes later leaves its files alone: the other may be removing them. The mark stays."""
    job_id, storage = make(), backend.storage
    take_out = backend.store.deletions.delete

    def take_out_twice(job_id: str) -> object:
        assert take_out(job_id) is not None
        return take_out(job_id)

    with monkeypatch.context() as patches:
        patches.setattr(backend.store.deletions, "delete", take_out_twice)
        backend.deleter.delete(job_id)
    assert storage.keys(keys.JOBS) == [keys.artifact(job_id, "adapter")]
    assert storage.keys(keys.UNSETTLED) == [keys.unsettled(job_id)]
    other = make()
    backend.deleter.delete(other)
    assert storage.keys(keys.job(other)) == []
    assert storage.keys(keys.UNSETTLED) == [keys.unsettled(job_id)]


def test_work_folders_of_jobs_that_others_have_deleted_go_after_a_day(
    backend: Backend, make: Callable[[], str]
) -> None:
    """Younger ones may be those of jobs that are being made. A start removes both."""
    known, old, young = make(), f"job_{'a' * 20}", f"job_{'b' * 20}"
    for job_id, age_s in ((known, 2 * DAY_S), (old, 2 * DAY_S), (young, DAY_S / 2)):
        work_folder(backend, job_id, age_s)
    backend.deleter.settle()
    assert {folder.name for folder in backend.settings.jobs_folder.iterdir()} == {known, young}
    backend.deleter.remove_left_behind()
    assert {folder.name for folder in backend.settings.jobs_folder.iterdir()} == {known}


def test_a_start_leaves_the_folder_of_a_job_that_another_server_makes(
    backend: Backend, make: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is made, and begun here, between the look at the jobs and the look at the folders."""
    ids, begun = backend.store.jobs.ids, list[Path]()

    def ids_before_a_new_job() -> frozenset[str]:
        found = ids()
        if not begun:
            begun.append(work_folder(backend, make()))
        return found

    monkeypatch.setattr(backend.store.jobs, "ids", ids_before_a_new_job)
    backend.deleter.remove_left_behind()
    assert begun[0].is_dir()


def test_only_rows_of_no_project_go_with_an_old_mark(backend: Backend, tmp_path: Path) -> None:
    """A mark that an upload has left says nothing of the upload that follows it."""
    _, identity = backend.store.tenants.create_anonymous("cli")
    project = backend.store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    file, storage = tmp_path / "rows", backend.storage
    file.write_bytes(b"x")
    kept, left = hashlib.sha256(b"x").hexdigest(), "c" * 64
    assert backend.store.datasets.add(project.id, StoredDataset(kept, 1, 1), file)
    storage.write(keys.dataset(left), b"x")
    for sha256 in (kept, left):
        storage.write(keys.unsettled(sha256), b"2020-01-01T00:00:00+00:00")
    backend.deleter.settle()
    assert storage.keys(keys.DATASETS) == [keys.dataset(kept)]
    assert storage.keys(keys.UNSETTLED) == []


def away(*_: object) -> None:
    """Stand in for a storage without a network."""
    raise StorageError("S3 gave no answer", "s3://bucket")


def test_files_that_stay_are_removed_later(
    backend: Backend, make: Callable[[], str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is gone at once; its mark stays until its files are gone, a day later."""
    job_id = make()
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


def test_nothing_is_deleted_without_a_mark(
    backend: Backend, make: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill would leave files that nobody looks for."""
    job_id = make()
    monkeypatch.setattr(backend.storage, "write", away)
    with pytest.raises(StorageError):
        backend.delete(job_id)
    assert job_id in backend.store.jobs.ids()
    assert backend.storage.size(keys.artifact(job_id, "adapter")) == 1
