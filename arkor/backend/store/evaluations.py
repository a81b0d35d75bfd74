"""Evaluations: queued, claimed one at a time, and ended.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from sqlalchemy import Connection, RowMapping, func, insert, select, update

from arkor.backend.store.database import Database, new_id, now
from arkor.backend.store.events import register_artifacts
from arkor.backend.store.idempotency import KeyReused, request_hash
from arkor.backend.store.schema import evaluations, jobs, projects
from arkor.backend.store.tenants import Project
from arkor.protocol.evaluations import Evaluation, EvaluationOptions
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact, JobStatus

_SHOWN = [column for column in evaluations.c if column.name not in {"number", "idempotency_key", "request_hash"}]
_ACTIVE = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)
_FAILED_ENDS = (JobStatus.FAILED.value, JobStatus.CANCELLED.value)
_CLAIMABLE = (
    select(
        *(evaluations.c.id, evaluations.c.options, evaluations.c.created_at),
        *(jobs.c.id, jobs.c.status, jobs.c.config, jobs.c.prompt_form),
        *(projects.c.id, projects.c.org_id, projects.c.slug, projects.c.name),
    )
    .join(jobs, jobs.c.id == evaluations.c.job_id)
    .join(projects, projects.c.id == jobs.c.project_id)
)


@attrs.frozen
class Claimed:
    """An evaluation that is to be made now.

    Attributes:
        id: the evaluation.
        job_id: its job, which has completed.
        project: whose job that is.
        config: the job's settings in wire names.
        prompt_form: how the job's rows were trained; None if that is not known.
        options: what is asked for.
        created_at: when, ISO 8601, UTC.
    """

    id: str
    job_id: str
    project: Project
    config: Mapping[str, Any] = attrs.field(hash=False)
    prompt_form: str | None
    options: EvaluationOptions
    created_at: str


def queue_evaluation(
    connection: Connection, job_id: str, options: EvaluationOptions, *, key: str | None = None, hashed: str = ""
) -> str:
    """Queue an evaluation in a transaction that is under way; return its id."""
    values = {
        "id": new_id("eval"),
        "job_id": job_id,
        "status": JobStatus.QUEUED.value,
        "options": options.to_wire(),
        "created_at": now(),
    }
    connection.execute(insert(evaluations).values(**values, idempotency_key=key, request_hash=hashed))
    return str(values["id"])


class Evaluations:
    """The evaluations of all jobs. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, job_id: str, options: EvaluationOptions, key: str | None = None) -> tuple[Evaluation, bool]:
        """Queue an evaluation, or find the one that the same key made first.

        Args:
            job_id: the job.
            options: what is asked for.
            key: names the request, or None.

        Returns:
            The evaluation, and whether it is new.

        Raises:
            KeyReused: the key named another request before.
        """
        hashed = request_hash(options.to_wire())
        with self._database.write() as connection:
            if key is not None:
                known = (evaluations.c.job_id == job_id, evaluations.c.idempotency_key == key)
                row = connection.execute(select(evaluations).where(*known)).mappings().one_or_none()
                if row is not None and row["request_hash"] != hashed:
                    raise KeyReused
                if row is not None:
                    return _evaluation(row), False
            made = queue_evaluation(connection, job_id, options, key=key, hashed=hashed)
            row = connection.execute(select(*_SHOWN).where(evaluations.c.id == made)).mappings().one()
        return _evaluation(row), True

    def list(self, job_id: str) -> list[Evaluation]:
        """Return the evaluations of a job, oldest first."""
        query = select(*_SHOWN).where(evaluations.c.job_id == job_id).order_by(evaluations.c.number)
        with self._database.read() as connection:
            return [_evaluation(row) for row in connection.execute(query).mappings()]

    def get(self, job_id: str, evaluation_id: str) -> Evaluation | None:
        """Return an evaluation of a job, or None."""
        query = select(*_SHOWN).where(evaluations.c.job_id == job_id, evaluations.c.id == evaluation_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _evaluation(row)

    def cancel(self, evaluation_id: str, reason: str) -> bool:
        """End an evaluation that has not ended; return whether it had not."""
        return self._end(evaluation_id, JobStatus.CANCELLED, error=reason)

    def fail(self, evaluation_id: str, error: str) -> bool:
        """End an evaluation with the reason why it failed; return whether it had not ended."""
        return self._end(evaluation_id, JobStatus.FAILED, error=error)

    def complete(
        self, evaluation_id: str, *, verdict: str, check: Mapping[str, Any] | None, artifact: Artifact | None
    ) -> bool:
        """End an evaluation with its report; return whether it had not ended.

        Args:
            evaluation_id: the evaluation.
            verdict: what the report says first.
            check: whether the served adapter is the trained one, or None.
            artifact: the report's file in the job's folder, or None.
        """
        made = None if artifact is None else artifact.name
        found = {"verdict": verdict, "check": check, "artifact": made}
        return self._end(evaluation_id, JobStatus.COMPLETED, register=artifact, **found)

    def _end(self, evaluation_id: str, status: JobStatus, *, register: Artifact | None = None, **values: Any) -> bool:
        active = (evaluations.c.id == evaluation_id, evaluations.c.status.in_(_ACTIVE))
        query = update(evaluations).where(*active).values(status=status.value, completed_at=now(), **values)
        with self._database.write() as connection:
            row = connection.execute(query.returning(evaluations.c.job_id)).one_or_none()
            if row is not None and register is not None:
                register_artifacts(connection, row.job_id, [register])
        return row is not None

    def progress(self, evaluation_id: str, done: int, total: int) -> None:
        """Remember how many answers there are, of how many."""
        with self._database.write() as connection:
            _change(connection, evaluation_id, {"done": done, "total": total})

    def claim(self, *, checks: bool = True) -> Claimed | None:
        """Take the oldest queued evaluation whose job has completed; end those whose job never will.

        Args:
            checks: whether one that makes the check alone may be taken.

        Returns:
            The evaluation, which is running from now on; None if there is none.
        """
        over = (evaluations.c.status == JobStatus.QUEUED.value, jobs.c.status.in_(TERMINAL_STATUSES))
        query = _CLAIMABLE.where(*over).order_by(evaluations.c.number)
        with self._database.read() as connection:  # it is asked often, and mostly in vain
            if connection.execute(query.limit(1)).first() is None:
                return None
        with self._database.write() as connection:
            for row in connection.execute(query).mappings().all():
                if row[jobs.c.status] not in _FAILED_ENDS:
                    if not checks and EvaluationOptions.from_wire(row[evaluations.c.options]).is_check_only:
                        continue
                    begun = {"status": JobStatus.RUNNING.value, "started_at": now(), "done": 0, "total": 0}
                    _change(connection, row[evaluations.c.id], begun)
                    return _claimed(row)
                reason = f"The job was {row[jobs.c.status]}, so there is no adapter to evaluate."
                ended = {"status": JobStatus.CANCELLED.value, "error": reason, "completed_at": now()}
                _change(connection, row[evaluations.c.id], ended)
        return None

    def requeue_running(self) -> None:
        """Queue the evaluations again that are marked as running, when none of them is."""
        running = evaluations.c.status == JobStatus.RUNNING.value
        with self._database.write() as connection:
            connection.execute(update(evaluations).where(running).values(status=JobStatus.QUEUED.value))

    def requeue(self, evaluation_id: str) -> None:
        """Queue a running evaluation again: this process stops before it has ended."""
        running = (evaluations.c.id == evaluation_id, evaluations.c.status == JobStatus.RUNNING.value)
        with self._database.write() as connection:
            connection.execute(update(evaluations).where(*running).values(status=JobStatus.QUEUED.value))

    def status(self, evaluation_id: str) -> str | None:
        """Return an evaluation's status; None if it was deleted with its job."""
        query = select(evaluations.c.status).where(evaluations.c.id == evaluation_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def awaited_jobs(self) -> frozenset[str]:
        """Return the jobs that have not ended, and have queued evaluations."""
        waiting = (evaluations.c.status == JobStatus.QUEUED.value, jobs.c.status.not_in(TERMINAL_STATUSES))
        query = select(jobs.c.id).join(evaluations, jobs.c.id == evaluations.c.job_id).where(*waiting)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def has_work(self) -> bool:
        """Whether any evaluation is running, or is queued for a job that has ended."""
        query = (
            select(func.count())
            .select_from(evaluations)
            .join(jobs, jobs.c.id == evaluations.c.job_id)
            .where(evaluations.c.status.in_(_ACTIVE), jobs.c.status.in_(TERMINAL_STATUSES))
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one() > 0


def _change(connection: Connection, evaluation_id: str, values: Mapping[str, Any]) -> None:
    connection.execute(update(evaluations).where(evaluations.c.id == evaluation_id).values(**values))


def _claimed(row: RowMapping) -> Claimed:
    return Claimed(
        id=row[evaluations.c.id],
        options=EvaluationOptions.from_wire(row[evaluations.c.options]),
        created_at=row[evaluations.c.created_at],
        job_id=row[jobs.c.id],
        config=row[jobs.c.config],
        prompt_form=row[jobs.c.prompt_form],
        project=Project(*(row[projects.c[name]] for name in ("id", "org_id", "slug", "name"))),
    )


def _evaluation(row: RowMapping) -> Evaluation:
    return Evaluation(**{column.name: row[column.name] for column in _SHOWN if row[column.name] is not None})
