"""The queue of work goes on, whatever happens to one of them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.exc import OperationalError

from arkor.backend.backend import Backend
from arkor.backend.storage import keys
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.schema import jobs
from arkor.backend.tasks.run import Ended
from arkor.protocol.evaluations import Evaluation, EvaluationOptions
from tests.support.eventually import eventually

FULL = OperationalError("UPDATE", {}, Exception("database or disk is full"))


def completed_job(backend: Backend) -> str:
    """Return a job that has completed, and has no adapter."""
    _, identity = backend.store.tenants.create_anonymous("cli")
    project = backend.store.tenants.create_project(identity.org, "p", "P")
    assert project is not None
    config = {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}}
    job, _ = backend.store.jobs.create(project, NewJob(name="job", config=config), config)
    with backend.store.evaluations._database.write() as connection:
        connection.execute(update(jobs).where(jobs.c.id == job.id).values(status="completed"))
    return job.id


@pytest.mark.parametrize(("method", "error"), [("fail", FULL), ("claim", FULL), ("claim", RuntimeError("broken"))])
def test_an_end_that_cannot_be_stored_now_is_stored_later(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, method: str, error: Exception
) -> None:
    """The evaluation is made again; it does not stay running for ever."""
    evaluations = backend.store.evaluations
    works, failures = getattr(evaluations, method), [error]

    def breaks_once(*arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return works(*arguments, **more)

    monkeypatch.setattr(evaluations, method, breaks_once)
    job_id = completed_job(backend)
    made, _ = evaluations.create(job_id, EvaluationOptions())
    backend.evaluations.start()

    def ended() -> Evaluation | None:
        now = evaluations.get(job_id, made.id)
        return now if now is not None and now.is_terminal else None

    try:
        found = eventually(ended, "it has ended")
    finally:
        backend.evaluations.stop()
    assert found is not None
    assert (found.status, failures) == ("failed", [])


def test_what_is_made_of_a_job_that_is_gone_goes_too(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another server has deleted it, while this one made something of it."""
    job_id, done = completed_job(backend), list[str]()
    report = f"{keys.job(job_id)}evaluations/report.json"

    def delete_and_make(_: object) -> Ended:
        assert backend.store.deletions.delete(job_id) is not None
        backend.storage.write(report, b"{}")
        done.append(job_id)
        return Ended(made={"verdict": "better", "check": None})

    monkeypatch.setattr(backend.evaluations, "_done", delete_and_make)
    monkeypatch.setattr(backend.evaluations, "has_made", lambda *_: None)
    backend.store.evaluations.create(job_id, EvaluationOptions())
    backend.evaluations.start()
    try:
        eventually(lambda: done and backend.storage.size(report) is None, "nothing is left")
    finally:
        backend.evaluations.stop()
    assert backend.storage.keys(keys.JOBS) == []
