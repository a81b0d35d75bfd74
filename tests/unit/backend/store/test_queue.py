"""What the queue asks of a database that is full of jobs that have ended."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sqlalchemy")

from sqlalchemy import Engine, event, insert, select

from arkor.backend.store import Store
from arkor.backend.store.database import Database
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.queue import ClaimedJob
from arkor.backend.store.schema import attempts, jobs
from tests.support.databases import open_for
from tests.support.scripted_engine import CONFIG

ENDED, QUEUED = 2000, 400


def plan_of(database: Database, ask: Callable[[], object]) -> str:
    """Return what is asked first, and how the database finds it."""
    asked: list[tuple[str, Any]] = []

    def note(_connection: object, _cursor: object, statement: str, parameters: Any, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        ask()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    statement, parameters = next(one for one in asked if one[0].startswith("SELECT"))
    with database.read() as connection:
        explain = "EXPLAIN" if connection.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
        return f"{statement} {connection.exec_driver_sql(f'{explain} {statement}', parameters).all()}"


def test_jobs_that_have_ended_do_not_slow_down_the_queue(tmp_path: Path) -> None:
    """Indexes hold only the jobs that are queued, and only the attempts that are under way."""
    database = open_for(tmp_path)
    store = Store(database, tmp_path)
    project = store.tenants.create_project(store.tenants.create_anonymous("cli")[1].org, "p", "P")
    assert project is not None

    def submit() -> str:
        return store.jobs.create(project, NewJob(name="job", config=CONFIG), CONFIG)[0].id

    submit()
    job = store.queue.claim()
    assert isinstance(job, ClaimedJob)
    store.queue.fail(job.id, job.attempt, "an error")
    with database.write() as connection:
        ended = connection.execute(select(jobs)).one()._asdict()
        attempt = connection.execute(select(attempts)).one()._asdict()
        numbers = range(2, ENDED + QUEUED)
        connection.execute(
            insert(jobs),
            [
                {**ended, "number": n, "id": f"job_{n}", "status": "completed" if n <= ENDED else "queued"}
                for n in numbers
            ],
        )
        connection.execute(insert(attempts), [{**attempt, "job_id": f"job_{n}"} for n in numbers if n <= ENDED])
        connection.exec_driver_sql("ANALYZE")
    claiming = plan_of(database, lambda: store.queue.claim(free=1, most=8))
    assert "jobs_queued" in claiming or "USING INDEX jobs_by_status" in claiming  # SQLite knows that this does as well
    assert "jobs.status = 'queued'" in claiming  # else PostgreSQL forgets the index when it has planned it six times
    assert "attempts_under_way" in plan_of(database, store.queue.running)
    assert [attempt.job_id for attempt in store.queue.running()] == [f"job_{ENDED + 1}"]
    store.close()
