"""The events of a job: the backend alone gives them their ids, 1, 2, 3… within each job.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import attrs
from sqlalchemy import Connection, insert, or_, select, update

from arkor.backend.store import sql
from arkor.backend.store.database import Database, forget, now
from arkor.backend.store.schema import artifacts, events, jobs
from arkor.protocol import wire
from arkor.protocol.events import STATUS_OF_LAST_EVENT
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact


@attrs.frozen
class Origin:
    """Where a worker's event came from: the attempt, from 1, and its number in it, from 1."""

    attempt: int
    seq: int


class StoredEvent(NamedTuple):
    """An event as the stream sends it: ``data`` is the payload's JSON on one line."""

    id: int
    type: str
    data: str


@attrs.frozen
class NewEvent:
    """An event that is to be stored.

    Attributes:
        type: the event's type.
        fields: the payload's other fields; ``timestamp`` is now if it is absent.
        origin: absent for an event of the backend itself.
    """

    type: str
    fields: Mapping[str, Any]
    origin: Origin | None = None


def append(connection: Connection, job_id: str, new: Sequence[NewEvent]) -> None:
    """Store events under the job's next ids; a last event ends the job in the same transaction.

    Args:
        connection: a writing one.
        job_id: the job, which must not have ended.
        new: the events, oldest first; only the last of them may be one that ends the job.
    """
    if not new:
        return
    progress: dict[str, Any] = {}
    for event in new:
        if event.type == "training.log":
            progress |= _progress(event.fields)
        elif event.type == "training.started":
            form = wire.mapping(event.fields.get("metadata")).get("promptForm")
            progress["prompt_form"] = wire.optional_text(form)
    query = update(jobs).where(jobs.c.id == job_id).values(last_event_id=jobs.c.last_event_id + len(new), **progress)
    last_id = connection.execute(query.returning(jobs.c.last_event_id)).scalar_one()
    first_id = last_id - len(new) + 1
    connection.execute(insert(events), [_row(job_id, event_id, event) for event_id, event in enumerate(new, first_id)])
    if new[-1].type in STATUS_OF_LAST_EVENT:
        _end_job(connection, job_id, new[-1])


def _row(job_id: str, event_id: int, event: NewEvent) -> dict[str, Any]:
    payload = {"timestamp": now(), **event.fields, "type": event.type, "jobId": job_id}
    return {
        "job_id": job_id,
        "id": event_id,
        "attempt": event.origin and event.origin.attempt,
        "seq": event.origin and event.origin.seq,
        "type": event.type,
        "step": wire.whole_number(event.fields.get("step")),
        "is_evaluation": event.fields.get("evalLoss") is not None,
        "data": json.dumps(payload, ensure_ascii=False, allow_nan=False),
    }


def _progress(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a log event changes of its job's progress: a figure that it does not tell stays as it was."""
    figures = {
        "last_step": wire.whole_number(fields.get("step")),
        "last_loss": wire.number(fields.get("loss")),
        "last_eval_loss": wire.number(fields.get("evalLoss")),
    }
    return {name: value for name, value in figures.items() if value is not None}


def _end_job(connection: Connection, job_id: str, last: NewEvent) -> None:
    error = wire.optional_text(last.fields.get("error")) if last.type == "training.failed" else None
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(status=STATUS_OF_LAST_EVENT[last.type].value, error=error, pause_reason=None, completed_at=now())
    )
    with_token = (jobs.c.id == job_id, or_(jobs.c.blob_token.is_not(None), jobs.c.eval_blob_token.is_not(None)))
    if connection.execute(update(jobs).where(*with_token).values(blob_token=None, eval_blob_token=None)).rowcount:
        forget(connection)


def register_artifacts(connection: Connection, job_id: str, found: Sequence[Artifact]) -> None:
    """Store what a job made; one that is made again takes the place of the former one."""
    for artifact in found:
        values = attrs.asdict(artifact, filter=lambda field, _: field.name != "extra")
        query = sql.insert(connection, artifacts).values(job_id=job_id, **values)
        connection.execute(query.on_conflict_do_update(index_elements=["job_id", "name"], set_=values))


class JobDeleted(Exception):
    """The job was deleted meanwhile."""


class Events:
    """Reading what was stored. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last_id(self, job_id: str) -> int:
        """Return the id of a job's last event so far; 0 if there is no event.

        Raises:
            JobDeleted: there is no such job any more.
        """
        with self._database.read() as connection:
            found = connection.execute(select(jobs.c.last_event_id).where(jobs.c.id == job_id)).scalar_one_or_none()
        if found is None:
            raise JobDeleted
        return int(found)

    def after(self, job_id: str, event_id: int, limit: int = 500) -> tuple[list[StoredEvent], bool]:
        """Return a job's events behind an id, in order, and whether these are the last ever.

        Args:
            job_id: the job.
            event_id: 0 for all.
            limit: how many at most.

        Raises:
            JobDeleted: there is no such job any more.
        """
        query = (
            select(events.c.id, events.c.type, events.c.data)
            .where(events.c.job_id == job_id, events.c.id > event_id)
            .order_by(events.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            found = list(map(StoredEvent._make, connection.execute(query)))
            job = connection.execute(
                select(jobs.c.status, jobs.c.last_event_id).where(jobs.c.id == job_id)
            ).one_or_none()
        if job is None:
            raise JobDeleted
        reached = found[-1].id if found else event_id
        return found, job.status in TERMINAL_STATUSES and reached >= job.last_event_id

    def figures(
        self, job_id: str, columns: Sequence[str], event_id: int, limit: int, last: int
    ) -> tuple[list[str], list[StoredEvent], bool]:
        """Return the figures of a job's events behind an id, and the last of these events as they are.

        Args:
            job_id: the job.
            columns: the fields of a log event to return, in wire names, at least two.
            event_id: 0 for all.
            limit: how many events at most.
            last: how many of them as they are.

        Returns:
            (for each log event a JSON array of its ``columns``; the last events; whether there are more behind them).

        Raises:
            JobDeleted: there is no such job any more.
        """
        with self._database.read() as connection:
            end = connection.execute(select(jobs.c.last_event_id).where(jobs.c.id == job_id)).scalar_one_or_none()
            if end is None:
                raise JobDeleted
            until = min(end, event_id + limit)  # ids have no gaps
            mine = (events.c.job_id == job_id, events.c.id <= until)
            rows = select(sql.log_figures(connection, columns)).where(
                *mine, events.c.id > event_id, events.c.type == "training.log"
            )
            found = list(connection.execute(rows.order_by(events.c.id)).scalars())
            query = select(events.c.id, events.c.type, events.c.data).where(
                *mine, events.c.id > max(event_id, until - last)
            )
            return found, list(map(StoredEvent._make, connection.execute(query.order_by(events.c.id)))), until < end

    def last(self, job_id: str, kind: str) -> dict[str, Any]:
        """Return the payload of a job's newest event of a type; empty if there is none."""
        query = select(events.c.data).where(events.c.job_id == job_id, events.c.type == kind)
        with self._database.read() as connection:
            data = connection.execute(query.order_by(events.c.id.desc()).limit(1)).scalar_one_or_none()
        return {} if data is None else dict(json.loads(data))

    def artifacts(self, job_id: str) -> list[Artifact]:
        """Return what a job made: checkpoints by step, the final one last."""
        query = (
            select(*(artifacts.c[name] for name in ("name", "kind", "step", "size_bytes", "sha256")))
            .where(artifacts.c.job_id == job_id)
            .order_by(artifacts.c.step.is_(None), artifacts.c.step, artifacts.c.name)
        )
        with self._database.read() as connection:
            return [Artifact(**row) for row in connection.execute(query).mappings()]
