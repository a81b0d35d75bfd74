"""The scheduler with a scripted engine and a real store."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.processes.engine import WorkerHandle
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.feed import Feed
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.tenants import Project
from tests.support.eventually import eventually

CONFIG = {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}}


class ScriptedEngine:
    """Starts nothing; the test ends a worker by calling what it was handed."""

    def __init__(self) -> None:
        self.exits: list[Callable[[int], None]] = []
        self.killed: list[WorkerHandle] = []
        self.error: OSError | None = None

    def start(self, spec_path: Path, log_path: Path, on_exit: Callable[[int], None]) -> WorkerHandle:
        if self.error is not None:
            raise self.error
        self.exits.append(on_exit)
        return WorkerHandle(len(self.exits), 0.0)

    def is_alive(self, handle: WorkerHandle) -> bool:
        return handle not in self.killed

    def terminate(self, handle: WorkerHandle) -> None:
        self.exits[handle.pid - 1](4)

    def kill(self, handle: WorkerHandle) -> None:
        self.killed.append(handle)


@attrs.frozen
class House:
    """A store with a project in it, an engine, and settings."""

    store: Store
    project: Project
    engine: ScriptedEngine
    settings: Settings

    def submit(self, name: str = "job") -> str:
        return self.store.jobs.create(self.project, NewJob(name=name, config=CONFIG), CONFIG)[0].id

    def scheduler(self) -> Scheduler:
        scheduler = Scheduler(self.store.queue, self.engine, self.settings, "http://127.0.0.1:1")
        scheduler.start()
        return scheduler

    def status(self, job_id: str) -> str:
        job = self.store.jobs.get(self.project, job_id)
        assert job is not None
        return job.status

    def last_event(self, job_id: str) -> str:
        return self.store.events.after(job_id, 0)[0][-1].data


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    store = Store(tmp_path / "db.sqlite3", Feed(), tmp_path)
    _, identity = store.tenants.create_anonymous("cli")
    project = store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    settings = Settings(data=tmp_path, lease_s=0.5, first_lease_s=5.0, cancel_grace_s=0.1, stop_grace_s=1.0)
    yield House(store, project, ScriptedEngine(), settings)
    store.close()


def test_a_worker_that_cannot_be_started_fails_the_job(house: House) -> None:
    """The reason is in its last event, and the next job gets its turn."""
    house.engine.error = OSError(28, "No space left on device")
    job_id = house.submit()
    scheduler = house.scheduler()
    eventually(lambda: house.status(job_id) == "failed", "the job failed")
    assert "could not be started" in house.last_event(job_id)
    assert "No space left on device" in house.last_event(job_id)
    house.engine.error = None
    house.submit()
    scheduler.submitted()
    eventually(lambda: house.engine.exits, "the next job is started")
    scheduler.stop()


def test_an_attempt_whose_process_was_never_recorded_is_given_up(house: House) -> None:
    """The backend died between the claim and the start: nobody reports, so another attempt begins."""
    job_id = house.submit()
    assert house.store.queue.claim() is not None
    scheduler = house.scheduler()
    eventually(lambda: house.engine.exits, "attempt 2 is started")
    assert [(run.job_id, run.attempt) for run in house.store.queue.running()] == [(job_id, 2)]
    scheduler.stop()
    assert house.status(job_id) == "queued"


def test_an_adopted_worker_that_reports_is_left_alone(house: House) -> None:
    """As long as it does; then it is killed and its job tried again."""
    job_id = house.submit()
    house.store.queue.claim()
    house.store.queue.record_process(job_id, 1, 77, 0.0)
    scheduler, pause = house.scheduler(), threading.Event()
    for _ in range(15):
        scheduler.heard_from(job_id, 1)
        pause.wait(0.05)
    assert house.engine.killed == []
    eventually(lambda: house.engine.exits, "attempt 2 is started")
    assert house.engine.killed == [WorkerHandle(77, 0.0)]
    scheduler.stop()


def test_a_job_is_settled_later_when_it_cannot_be_now(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the database, such as a full disk, never leaves a job running for ever."""
    job_id, fail, refusals = house.submit(), house.store.queue.fail, [1]

    def fail_once(*arguments: str | int) -> None:
        if refusals:
            refusals.pop()
            raise OSError(28, "No space left on device")
        fail(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(house.store.queue, "fail", fail_once)
    scheduler = house.scheduler()
    eventually(lambda: house.engine.exits, "the worker is started")
    house.engine.exits[0](1)
    eventually(lambda: house.status(job_id) == "failed", "the job failed")
    assert refusals == []
    scheduler.stop()


def test_a_cancel_before_the_start_is_not_forgotten(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came between the claim and the worker's start, when nobody could be told."""
    job_id, start = house.submit(), house.engine.start

    def cancel_first(spec_path: Path, log_path: Path, on_exit: Callable[[int], None]) -> WorkerHandle:
        assert house.store.jobs.cancel(job_id)
        return start(spec_path, log_path, on_exit)

    monkeypatch.setattr(house.engine, "start", cancel_first)
    scheduler = house.scheduler()
    eventually(lambda: house.status(job_id) == "cancelled", "the job is cancelled")
    assert len(house.engine.killed) == 1
    scheduler.stop()
