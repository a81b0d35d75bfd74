"""Jobs as the scheduler sees them: claimed, given back, ended on a worker's behalf."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import attrs
from sqlalchemy import Connection, Row, func, insert, select, update

from arkor.backend.store.database import Database, digest, new_token, now
from arkor.backend.store.events import NewEvent, append
from arkor.backend.store.feed import Feed
from arkor.backend.store.schema import attempts, events, jobs
from arkor.protocol.jobs import TERMINAL_STATUSES, JobStatus

_PROGRESS_TYPES = ("training.log", "checkpoint.saved")


@attrs.frozen(kw_only=True)
class ClaimedJob:
    """A job whose next attempt is about to start.

    Attributes:
        id: the job's.
        attempt: its number, from 1.
        token: what the attempt's worker proves itself with; stored nowhere but as a hash.
        name: the job's.
        config: its settings in wire names, the blob's token included.
    """

    id: str
    attempt: int
    token: str = attrs.field(repr=False)
    name: str
    config: dict[str, Any] = attrs.field(repr=False)


@attrs.frozen
class RunningAttempt:
    """An attempt that an earlier process of this backend started, and whose worker it did not see leave.

    Attributes:
        job_id: the job's.
        attempt: its number, from 1.
        pid: its worker's process, or None where the backend ended before it was known.
        pid_start: when that process started, as ``process_start`` writes it.
        job_ended: whether the job has ended already, and its worker only has to leave.
    """

    job_id: str
    attempt: int
    pid: int | None
    pid_start: str | None
    job_ended: bool


class Queue:
    """The scheduler's view of the jobs. Thread-safe."""

    def __init__(self, database: Database, feed: Feed) -> None:
        self._database = database
        self._feed = feed

    def claim(self, put_off: Collection[str] = ()) -> ClaimedJob | None:
        """Mark the oldest queued job as running and begin its next attempt.

        Args:
            put_off: the ids of jobs whose turn has not come.

        Returns:
            The job, or None if there is no other in the queue.
        """
        waiting = (jobs.c.status == JobStatus.QUEUED.value, jobs.c.id.not_in(put_off))
        with self._database.write() as connection:
            row = connection.execute(select(jobs).where(*waiting).order_by(jobs.c.number).limit(1)).one_or_none()
            if row is None:
                return None
            token, number = new_token(), row.attempt + 1
            started_at = row.started_at or now()
            _update(connection, row.id, status=JobStatus.RUNNING.value, attempt=number, started_at=started_at)
            connection.execute(insert(attempts).values(job_id=row.id, number=number, token_hash=digest(token)))
        return ClaimedJob(id=row.id, attempt=number, token=token, name=row.name, config=_with_tokens(row))

    def record_process(self, job_id: str, attempt: int, pid: int, pid_start: str) -> None:
        """Remember which process works on an attempt, for a backend that starts anew."""
        with self._database.write() as connection:
            connection.execute(
                update(attempts)
                .where(attempts.c.job_id == job_id, attempts.c.number == attempt)
                .values(pid=pid, pid_start=pid_start)
            )

    def running(self) -> list[RunningAttempt]:
        """Return the attempts whose workers are not known to have left, oldest job first."""
        ended = jobs.c.status.in_(TERMINAL_STATUSES)
        query = (
            select(jobs.c.id, jobs.c.attempt, attempts.c.pid, attempts.c.pid_start, ended)
            .join(attempts, (attempts.c.job_id == jobs.c.id) & (attempts.c.number == jobs.c.attempt))
            .where((jobs.c.status == JobStatus.RUNNING.value) | (ended & ~attempts.c.ended))
            .order_by(jobs.c.number)
        )
        with self._database.read() as connection:
            return [RunningAttempt(*row) for row in connection.execute(query)]

    def has_work(self) -> bool:
        """Whether any job is queued or running."""
        active = (JobStatus.QUEUED.value, JobStatus.RUNNING.value)
        query = select(func.count()).select_from(jobs).where(jobs.c.status.in_(active))
        with self._database.read() as connection:
            return connection.execute(query).scalar_one() > 0

    def is_cancelling(self, job_id: str) -> bool:
        """Whether the job was asked to end."""
        with self._database.read() as connection:
            return bool(connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)).scalar_one())

    def give_back(self, job_id: str, attempt: int) -> None:
        """Queue a job again whose attempt was ended by a stop or a pause of the backend itself."""
        with self._database.write() as connection:
            if _end_attempt(connection, job_id, attempt) is not None:
                _update(connection, job_id, status=JobStatus.QUEUED.value)
        self._feed.publish(job_id)

    def lose(self, job_id: str, attempt: int, reason: str, max_attempts: int) -> None:
        """Queue a job again whose attempt was lost, or fail it after too many in a row that made no progress.

        Progress is a log or a checkpoint that no earlier attempt has reported.

        Args:
            job_id: the job's.
            attempt: the lost one.
            reason: how it was lost, a clause for the failure's text.
            max_attempts: how many may be lost, this one included, until the job fails.
        """
        with self._database.write() as connection:
            row = _end_attempt(connection, job_id, attempt)
            if row is not None:
                lost = 0 if _made_progress(connection, job_id, attempt) else row.lost_attempts + 1
                if lost >= max_attempts:
                    error = f"Gave up after {lost} lost attempts; in the last one {reason}"
                    append(connection, job_id, [NewEvent("training.failed", {"error": error})])
                else:
                    _update(connection, job_id, status=JobStatus.QUEUED.value, lost_attempts=lost)
        self._feed.publish(job_id)

    def fail(self, job_id: str, attempt: int, error: str) -> None:
        """Fail a job whose worker ended without a word."""
        with self._database.write() as connection:
            if _end_attempt(connection, job_id, attempt) is not None:
                append(connection, job_id, [NewEvent("training.failed", {"error": error})])
        self._feed.publish(job_id)


def _update(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _end_attempt(connection: Connection, job_id: str, attempt: int) -> Row[Any] | None:
    """Close an attempt; return its job where it still needs a verdict. One that was to be cancelled is cancelled."""
    connection.execute(
        update(attempts).where(attempts.c.job_id == job_id, attempts.c.number == attempt).values(ended=True)
    )
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    if row.status != JobStatus.RUNNING or row.attempt != attempt:
        return None
    if row.cancel_requested:
        append(connection, job_id, [NewEvent("training.cancelled", {})])
        return None
    return row


def _made_progress(connection: Connection, job_id: str, attempt: int) -> bool:
    new = (events.c.job_id == job_id, events.c.attempt == attempt, events.c.type.in_(_PROGRESS_TYPES))
    return connection.execute(select(events.c.id).where(*new).limit(1)).first() is not None


def _with_tokens(job: Row[Any]) -> dict[str, Any]:
    """Return a job's settings as they were submitted."""
    tokens = {"datasetSource": job.blob_token, "evalDatasetSource": job.eval_blob_token}
    given = {name: token for name, token in tokens.items() if token is not None}
    return {**job.config, **{name: {**job.config[name], "token": token} for name, token in given.items()}}
