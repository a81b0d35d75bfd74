"""Work on what jobs have made, evaluations and exports: queued, done one piece at a time, and kept over restarts.

Protocol: docs/protocol.md, "Evaluations", "Exports".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import attrs
from sqlalchemy import Connection, RowMapping, Table, func, insert, select, update

from arkor.backend.store.database import Database, new_id, now
from arkor.backend.store.events import register_artifacts
from arkor.backend.store.idempotency import KeyReused, request_hash
from arkor.backend.store.schema import evaluations, exports, jobs, projects
from arkor.backend.store.servers import alive
from arkor.backend.store.sql import lock_job
from arkor.backend.store.tenants import Project
from arkor.protocol.evaluations import Evaluation, EvaluationOptions
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact, JobStatus
from arkor.protocol.tasks import JobTask

_ACTIVE = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)
_FAILED_ENDS = (JobStatus.FAILED.value, JobStatus.CANCELLED.value)
_HIDDEN = frozenset({"number", "idempotency_key", "request_hash", "server_id"})


class Options(Protocol):
    """What is asked for."""

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels."""
        ...


Asked = TypeVar("Asked", bound=Options)
Shown = TypeVar("Shown", bound=JobTask)


@attrs.frozen(kw_only=True)
class Kind(Generic[Asked, Shown]):
    """A kind of such work.

    Attributes:
        noun: what one is called.
        table: where they are.
        read: reads the options.
        show: reads what is shown of one.
    """

    noun: str
    table: Table
    read: Callable[[Mapping[str, Any]], Asked]
    show: Callable[..., Shown]


EVALUATIONS = Kind(noun="eval", table=evaluations, read=EvaluationOptions.from_wire, show=Evaluation)
EXPORTS = Kind(noun="export", table=exports, read=ExportOptions.from_wire, show=Export)


@attrs.frozen(kw_only=True)
class Claimed(Generic[Asked]):
    """A piece of work that is to be done now.

    Attributes:
        id: its id.
        job_id: its job, which has completed.
        project: whose job that is.
        config: the job's settings in wire names.
        prompt_form: how the job's rows were trained; None if that is not known.
        options: what is asked for.
        created_at: when that was.
    """

    id: str
    job_id: str
    project: Project
    config: Mapping[str, Any] = attrs.field(hash=False)
    prompt_form: str | None
    options: Asked
    created_at: str


def queue_task(
    connection: Connection,
    kind: Kind[Asked, Shown],
    job_id: str,
    options: Asked,
    *,
    key: str | None = None,
    hashed: str = "",
) -> str:
    """Queue a piece of work in a transaction that is under way; return its id."""
    values = {
        "id": new_id(kind.noun),
        "job_id": job_id,
        "status": JobStatus.QUEUED.value,
        "options": options.to_wire(),
        "created_at": now(),
    }
    connection.execute(insert(kind.table).values(**values, idempotency_key=key, request_hash=hashed))
    return str(values["id"])


class Tasks(Generic[Asked, Shown]):
    """The work of one kind on all jobs. Thread-safe.

    Args:
        database: the database.
        kind: the kind.
        server_id: the server that uses it; None if it shares the database with no other.
    """

    def __init__(self, database: Database, kind: Kind[Asked, Shown], server_id: str | None = None) -> None:
        self._database = database
        self._server_id = server_id
        self._kind = kind
        self._table = kind.table
        self._shown = [column for column in kind.table.c if column.name not in _HIDDEN]

    def create(self, job_id: str, options: Asked, key: str | None = None) -> tuple[Shown, bool]:
        """Queue a piece of work, or find the one that the same key made first.

        Args:
            job_id: the job.
            options: what is asked for.
            key: names the request, or None.

        Returns:
            It, and whether it is new.

        Raises:
            KeyReused: the key named another request before.
        """
        hashed, table = request_hash(options.to_wire()), self._table
        with self._database.write() as connection:
            lock_job(connection, job_id)
            if key is not None:
                known = (table.c.job_id == job_id, table.c.idempotency_key == key)
                row = connection.execute(select(table).where(*known)).mappings().one_or_none()
                if row is not None and row["request_hash"] != hashed:
                    raise KeyReused
                if row is not None:
                    return self._show(row), False
            made = queue_task(connection, self._kind, job_id, options, key=key, hashed=hashed)
            row = connection.execute(select(table).where(table.c.id == made)).mappings().one()
        return self._show(row), True

    def list(self, job_id: str) -> list[Shown]:
        """Return those of a job, oldest first."""
        query = select(*self._shown).where(self._table.c.job_id == job_id).order_by(self._table.c.number)
        with self._database.read() as connection:
            return [self._show(row) for row in connection.execute(query).mappings()]

    def get(self, job_id: str, task_id: str) -> Shown | None:
        """Return one of a job, or None."""
        query = select(*self._shown).where(self._table.c.job_id == job_id, self._table.c.id == task_id)
        with self._database.read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else self._show(row)

    def cancel(self, task_id: str, reason: str) -> bool:
        """End one that has not ended; return whether it had not."""
        return self._end(task_id, JobStatus.CANCELLED, error=reason)

    def fail(self, task_id: str, error: str) -> bool:
        """End one with the reason why it failed; return whether it had not ended."""
        return self._end(task_id, JobStatus.FAILED, error=error)

    def complete(
        self, task_id: str, *, verdict: str, check: Mapping[str, Any] | None, artifact: Artifact | None
    ) -> bool:
        """End one with what it found and made; return whether it had not ended.

        Args:
            task_id: its id.
            verdict: what was found, in words.
            check: whether what answers is what was trained, or None.
            artifact: the file in the job's folder, or None.
        """
        made = None if artifact is None else artifact.name
        return self._end(task_id, JobStatus.COMPLETED, register=artifact, verdict=verdict, check=check, artifact=made)

    def _end(self, task_id: str, status: JobStatus, *, register: Artifact | None = None, **values: Any) -> bool:
        active = (self._table.c.id == task_id, self._table.c.status.in_(_ACTIVE))
        query = update(self._table).where(*active).values(status=status.value, completed_at=now(), **values)
        with self._database.write() as connection:
            row = connection.execute(query.returning(self._table.c.job_id)).one_or_none()
            if row is not None and register is not None:
                register_artifacts(connection, row.job_id, [register])
        return row is not None

    def progress(self, task_id: str, done: int, total: int) -> bool:
        """Remember how much is done, of how much; return whether it has not ended."""
        active = (self._table.c.id == task_id, self._table.c.status.in_(_ACTIVE))
        query = update(self._table).where(*active).values(done=done, total=total).returning(self._table.c.id)
        with self._database.write() as connection:
            return connection.execute(query).first() is not None

    def claim(self, may_begin: Callable[[Asked], bool] = lambda _: True) -> Claimed[Asked] | None:
        """Take the oldest queued one whose job has completed; end those whose job never will.

        Args:
            may_begin: says of what is asked for whether it may be done now.

        Returns:
            The one, which is running from now on; None if there is none.
        """
        table = self._table
        over = (table.c.status == JobStatus.QUEUED.value, jobs.c.status.in_(TERMINAL_STATUSES))
        query = (
            select(
                *(table.c.id, table.c.options, table.c.created_at),
                *(jobs.c.id, jobs.c.status, jobs.c.config, jobs.c.prompt_form),
                *(projects.c.id, projects.c.org_id, projects.c.slug, projects.c.name),
            )
            .join(jobs, jobs.c.id == table.c.job_id)
            .join(projects, projects.c.id == jobs.c.project_id)
            .where(*over)
            .order_by(table.c.number)
        )
        with self._database.read() as connection:  # it is asked often, and mostly in vain
            if connection.execute(query.limit(1)).first() is None:
                return None
        with self._database.write() as connection:
            waiting = query.with_for_update(of=table, skip_locked=True)
            for row in connection.execute(waiting).mappings().all():
                task_id = row[table.c.id]
                if row[jobs.c.status] in _FAILED_ENDS:
                    reason = f"The job was {row[jobs.c.status]}, so there is no adapter."
                    ended = {"status": JobStatus.CANCELLED.value, "error": reason, "completed_at": now()}
                    self._change(connection, task_id, ended)
                elif may_begin(self._kind.read(row[table.c.options])):
                    begun = {"status": JobStatus.RUNNING.value, "started_at": now(), "done": 0, "total": 0}
                    self._change(connection, task_id, {**begun, "server_id": self._server_id})
                    return self._claimed(row)
        return None

    def requeue_running(self) -> None:
        """Queue those again that are marked as running and are not: when this server runs none, and no other does."""
        which = self._table.c.status == JobStatus.RUNNING.value
        if self._server_id is not None:
            server = self._table.c.server_id
            which &= server.is_(None) | (server == self._server_id) | server.not_in(alive())
        self._requeue(which)

    def requeue(self, task_id: str) -> None:
        """Queue a running one again: this process stops before it has ended."""
        self._requeue((self._table.c.id == task_id) & (self._table.c.status == JobStatus.RUNNING.value))

    def _requeue(self, which: Any) -> None:
        with self._database.write() as connection:
            connection.execute(update(self._table).where(which).values(status=JobStatus.QUEUED.value))

    def status(self, task_id: str) -> str | None:
        """Return the status of one; None if it was deleted with its job."""
        query = select(self._table.c.status).where(self._table.c.id == task_id)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def awaited_jobs(self) -> frozenset[str]:
        """Return the jobs that have not ended, and have queued work."""
        waiting = (self._table.c.status == JobStatus.QUEUED.value, jobs.c.status.not_in(TERMINAL_STATUSES))
        query = select(jobs.c.id).join(self._table, jobs.c.id == self._table.c.job_id).where(*waiting)
        with self._database.read() as connection:
            return frozenset(connection.execute(query).scalars())

    def has_work(self) -> bool:
        """Whether any is running, or is queued for a job that has ended."""
        query = (
            select(func.count())
            .select_from(self._table)
            .join(jobs, jobs.c.id == self._table.c.job_id)
            .where(self._table.c.status.in_(_ACTIVE), jobs.c.status.in_(TERMINAL_STATUSES))
        )
        with self._database.read() as connection:
            return connection.execute(query).scalar_one() > 0

    def _change(self, connection: Connection, task_id: str, values: Mapping[str, Any]) -> None:
        connection.execute(update(self._table).where(self._table.c.id == task_id).values(**values))

    def _claimed(self, row: RowMapping) -> Claimed[Asked]:
        return Claimed(
            id=row[self._table.c.id],
            options=self._kind.read(row[self._table.c.options]),
            created_at=row[self._table.c.created_at],
            job_id=row[jobs.c.id],
            config=row[jobs.c.config],
            prompt_form=row[jobs.c.prompt_form],
            project=Project(*(row[projects.c[name]] for name in ("id", "org_id", "slug", "name"))),
        )

    def _show(self, row: RowMapping) -> Shown:
        return self._kind.show(
            **{column.name: row[column.name] for column in self._shown if row[column.name] is not None}
        )
