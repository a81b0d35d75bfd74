"""Jobs as their owners see them: made, read, listed, cancelled.

Protocol: docs/protocol.md, "Jobs".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from sqlalchemy import Connection, RowMapping, insert, select, update

from arkor.backend.store.database import Database, new_id, now, tell
from arkor.backend.store.events import NewEvent, append, register_artifacts
from arkor.backend.store.idempotency import KeyReused, request_hash
from arkor.backend.store.pages import read_page
from arkor.backend.store.queue import PAUSED_BY_USER, pause, unpause
from arkor.backend.store.schema import datasets, jobs
from arkor.backend.store.sql import lock_job, lock_name
from arkor.backend.store.tasks import EVALUATIONS, queue_task
from arkor.backend.store.tenants import Project
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact, JobStatus, ResumedFrom, TrainingJob
from arkor.protocol.secrets import without_tokens
from arkor.protocol.sources import sources_of

_PUBLIC = (
    *("id", "org_id", "project_id", "name", "status", "config", "error", "pause_reason", "created_at", "started_at"),
    *("completed_at", "prompt_form"),
)
_COLUMNS = [jobs.c[name] for name in _PUBLIC]
_RESUMED = (jobs.c.resumed_from_job, jobs.c.resumed_from_step)
_PROGRESS = {"step": jobs.c.last_step, "loss": jobs.c.last_loss, "evalLoss": jobs.c.last_eval_loss}
_SHOWN = [*_COLUMNS, *_RESUMED, *_PROGRESS.values()]


@attrs.frozen(kw_only=True)
class NewJob:
    """What a client asks for.

    Attributes:
        name: what the user calls it.
        config: its settings in wire names, as the client sent them.
        idempotency_key: names the request, so that a repeat finds the first one's job; or None.
        resumed_from: the job and the step that it goes on from; None for one that begins anew.
        batch_size: rows in a batch, if the memory of that job had run out; otherwise None.
    """

    name: str
    config: Mapping[str, Any]
    idempotency_key: str | None = None
    resumed_from: ResumedFrom | None = None
    batch_size: int | None = None

    @property
    def request_hash(self) -> str:
        """SHA-256 of what was asked for, to tell a repeat from another request under the same key."""
        asked = [self.name, self.config] if self.resumed_from is None else [self.resumed_from.job_id]
        return request_hash(asked)


class DatasetGone(Exception):
    """The project has no such data set any more: it went with the last job that used it.

    Attributes:
        field: the wire name of the setting that names it.
    """

    def __init__(self, field: str) -> None:
        super().__init__(field)
        self.field = field


class Jobs:
    """The jobs of every project. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(
        self,
        project: Project,
        new: NewJob,
        kept: Mapping[str, Any],
        job_id: str | None = None,
        evaluations: Sequence[EvaluationOptions] = (),
    ) -> tuple[TrainingJob, bool]:
        """Queue a job, or find the one that the same key made first.

        Args:
            project: whose job it is.
            new: what was asked for.
            kept: its settings as they are stored.
            job_id: what a new job is called; None for a new id.
            evaluations: those that follow it.

        Returns:
            The job, and whether it is new.

        Raises:
            KeyReused: the key named another request before.
            DatasetGone: its data set was deleted since the settings were checked.
        """
        with self._database.write() as connection:
            lock_name(connection, f"{project.id} {new.idempotency_key}")
            first = _by_key(connection, project, new)
            if first is not None:
                return first, False
            _check_datasets(connection, project, kept)
            values: dict[str, Any] = {
                "id": job_id or new_id("job"),
                "org_id": project.org_id,
                "project_id": project.id,
                "name": new.name,
                "status": JobStatus.QUEUED.value,
                "config": without_tokens(kept),
                "created_at": now(),
            }
            internal = {
                "blob_token": kept["datasetSource"].get("token"),
                "eval_blob_token": kept.get("evalDatasetSource", {}).get("token"),
                "idempotency_key": new.idempotency_key,
                "request_hash": new.request_hash,
                "batch_size": new.batch_size,
                "resumed_from_job": new.resumed_from and new.resumed_from.job_id,
                "resumed_from_step": new.resumed_from and new.resumed_from.step,
            }
            connection.execute(insert(jobs).values(**values, **internal))
            tell(connection, values["id"], queued=True)
            for options in evaluations:
                queue_task(connection, EVALUATIONS, values["id"], options)
        return TrainingJob(**values, resumed_from=new.resumed_from), True

    def add_completed(
        self, project: Project, new: NewJob, kept: Mapping[str, Any], job_id: str, *, made: Artifact, prompt_form: str
    ) -> tuple[TrainingJob, bool]:
        """Store a job that has completed already, or find the one that the same key made first.

        Args:
            project: whose job it is.
            new: what was asked for.
            kept: its settings as they are stored.
            job_id: what it is called.
            made: its final adapter, whose file is in its place.
            prompt_form: how its adapter is asked best: ``chat`` or ``raw``.

        Returns:
            The job, and whether it is new.

        Raises:
            KeyReused: the key named another request before.
        """
        with self._database.write() as connection:
            lock_name(connection, f"{project.id} {new.idempotency_key}")
            first = _by_key(connection, project, new)
            if first is not None:
                return first, False
            values = {
                "id": job_id,
                "org_id": project.org_id,
                "project_id": project.id,
                "name": new.name,
                "status": JobStatus.RUNNING.value,  # until its only event, a few lines below
                "config": kept,
                "created_at": now(),
                "prompt_form": prompt_form,
                "idempotency_key": new.idempotency_key,
                "request_hash": new.request_hash,
            }
            connection.execute(insert(jobs).values(**values))
            register_artifacts(connection, job_id, [made])
            append(connection, job_id, [NewEvent("training.completed", {"artifacts": [made.to_wire()]})])
            row = connection.execute(select(*_SHOWN).where(jobs.c.id == job_id)).mappings().one()
        return _job(row), True

    def find_repeat(self, project: Project, new: NewJob) -> TrainingJob | None:
        """Return the job that the request's key made before, or None.

        Raises:
            KeyReused: the key named another request before.
        """
        with self._database.read() as connection:
            return _by_key(connection, project, new)

    def list(
        self, project: Project, *, limit: int | None = None, after: str | None = None
    ) -> tuple[list[TrainingJob], str | None]:
        """Return the project's jobs, newest first.

        Args:
            project: whose jobs.
            limit: the most of them, 1 or more; None for all.
            after: the cursor of an earlier page, or None.

        Returns:
            The jobs, and the cursor of the next page; None where there are no more.

        Raises:
            BadCursor: no page has ended with ``after``.
        """
        query, order = select(*_SHOWN).where(jobs.c.project_id == project.id), (jobs.c.created_at, jobs.c.id)
        with self._database.read() as connection:
            return read_page(connection, query, order, _job, newest_first=True, limit=limit, after=after)

    def ids(self) -> frozenset[str]:
        """Return the ids of all jobs of all projects."""
        with self._database.read() as connection:
            return frozenset(connection.execute(select(jobs.c.id)).scalars())

    def ended_before(self, moment: str) -> Sequence[str]:
        """Return the ids of the jobs of all projects that ended before a moment, the oldest first.

        Args:
            moment: ISO 8601, UTC, to the millisecond, with a Z.
        """
        ended = (jobs.c.status.in_(TERMINAL_STATUSES), jobs.c.completed_at < moment)
        with self._database.read() as connection:
            return connection.execute(select(jobs.c.id).where(*ended).order_by(jobs.c.completed_at)).scalars().all()

    def get(self, project: Project, job_id: str) -> TrainingJob | None:
        """Return one of the project's jobs, or None."""
        query = select(*_SHOWN).where(jobs.c.project_id == project.id, jobs.c.id == job_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else _job(row)

    def ahead_of(self, job: TrainingJob) -> dict[str, Any] | None:
        """Return the running job that a queued one most likely waits for: of its organisation, and the furthest one.

        Args:
            job: the queued job.

        Returns:
            ``jobId`` and ``step``, and ``maxSteps`` if the job's settings say it; None if the job waits for none.
        """
        if job.status != JobStatus.QUEUED:
            return None
        query = select(jobs.c.id, jobs.c.last_step, jobs.c.config)
        running = (jobs.c.org_id == job.org_id, jobs.c.status == JobStatus.RUNNING.value)
        with self._database.read() as connection:
            found = connection.execute(query.where(*running).order_by(jobs.c.number)).all()
        known = [_reached(*row) for row in found]
        return max(known, key=lambda one: one["step"] / one.get("maxSteps", math.inf), default=None)

    def cancel(self, job_id: str) -> bool:
        """Cancel a job that waits at once, or ask a running one to end.

        Returns:
            False where the job has ended already.
        """
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            status = connection.execute(select(jobs.c.status).where(jobs.c.id == job_id)).scalar_one_or_none()
            if status is None or status in TERMINAL_STATUSES:  # or deleted meanwhile
                return False
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(cancel_requested=True))
            if status in {JobStatus.QUEUED, JobStatus.PAUSED}:
                append(connection, job_id, [NewEvent("training.cancelled", {})])
        return True

    def pause(self, job_id: str) -> bool:
        """Pause a queued job at once, or ask a running one to save what it has and to pause.

        Returns:
            False where the job has ended already. One that is paused is not unpaused by the disk's having room again.
        """
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one_or_none()
            if row is None or row.status in TERMINAL_STATUSES or row.cancel_requested:
                return False
            if row.status == JobStatus.RUNNING:
                connection.execute(update(jobs).where(jobs.c.id == job_id).values(pause_requested=True))
            elif row.status == JobStatus.QUEUED or row.disk_full_since is not None:
                pause(connection, row, PAUSED_BY_USER)
        return True

    def unpause(self, job_id: str) -> bool:
        """Queue a paused job again.

        Returns:
            False where the job is not paused.
        """
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            is_paused = (jobs.c.id == job_id, jobs.c.status == JobStatus.PAUSED.value)
            forgotten = update(jobs).where(*is_paused).values(disk_full_since=None)
            if not connection.execute(forgotten).rowcount:
                return False
            unpause(connection, job_id)
        return True

    def batch_size(self, job_id: str) -> int | None:
        """Return the rows in a batch of a job whose memory had run out; None for one whose memory sufficed."""
        with self._database.read() as connection:
            return connection.execute(select(jobs.c.batch_size).where(jobs.c.id == job_id)).scalar_one_or_none()


def _reached(job_id: str, step: int | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far a running job is; how many steps a dry run has, nobody knows here."""
    total = None if config.get("dryRun") else config.get("maxSteps")
    return {"jobId": job_id, "step": step or 0, **({"maxSteps": total} if total else {})}


def _by_key(connection: Connection, project: Project, new: NewJob) -> TrainingJob | None:
    if new.idempotency_key is None:
        return None
    same_key = (jobs.c.project_id == project.id, jobs.c.idempotency_key == new.idempotency_key)
    row = connection.execute(select(*_SHOWN, jobs.c.request_hash).where(*same_key)).mappings().one_or_none()
    if row is not None and row[jobs.c.request_hash] != new.request_hash:
        raise KeyReused
    return None if row is None else _job(row)


def _check_datasets(connection: Connection, project: Project, config: Mapping[str, Any]) -> None:
    sources = sources_of(config)
    for sha256 in sorted(source["id"] for source in sources.values() if source["type"] == "dataset"):
        lock_name(connection, sha256)
    for field, source in sources.items():
        wanted = (datasets.c.project_id == project.id, datasets.c.sha256 == source.get("id"))
        if source["type"] == "dataset" and connection.execute(select(datasets.c.sha256).where(*wanted)).first() is None:
            raise DatasetGone(field)


def _job(row: RowMapping) -> TrainingJob:
    progress = {name: row[column] for name, column in _PROGRESS.items() if row[column] is not None}
    from_job, from_step = (row[column] for column in _RESUMED)
    return TrainingJob(
        **{column.name: row[column] for column in _COLUMNS},
        resumed_from=None if from_job is None else ResumedFrom(from_job, from_step),
        extra={"progress": progress} if progress else {},
    )
