"""Storing what workers report: each event once, and a resumed attempt's repeats not again.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

import functools
import hmac
import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import attrs
from sqlalchemy import Connection, Row, func, select, update

from arkor.backend.store.database import Database, digest, tell
from arkor.backend.store.events import NewEvent, Origin, append, register_artifacts
from arkor.backend.store.schema import attempts, events, jobs
from arkor.backend.store.sql import lock_job
from arkor.protocol.events import LAST_EVENT_TYPES
from arkor.protocol.jobs import TERMINAL_STATUSES, Artifact, JobStatus

_MOST_KNOWN = 1024
_MOST_REPLAYS = 64  # attempts that run at the same time, and a few that have just ended


@attrs.frozen
class WorkerEvent:
    """One event of a report.

    Attributes:
        seq: its number within the attempt, from 1.
        type: one of the stream's event types.
        fields: the payload's other fields, all numbers finite.
        artifacts: what the event says was made.
    """

    seq: int
    type: str
    fields: dict[str, Any]
    artifacts: tuple[Artifact, ...] = ()

    @property
    def step(self) -> int:
        """The optimizer step of the event, 0 where it has none."""
        return int(self.fields.get("step") or 0)


@attrs.frozen
class Receipt:
    """What became of a report.

    Attributes:
        cancel: the worker has to stop.
        ended: the job has ended, with this report or before it.
    """

    cancel: bool
    ended: bool


class UnknownAttempt(Exception):
    """No such attempt, or not its token."""


class StaleAttempt(Exception):
    """The attempt is over: another one has taken its place, or will."""


class Reports:
    """Taking in workers' reports. Thread-safe."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._replays: OrderedDict[tuple[str, int], _Replay] = OrderedDict()
        self._known = functools.lru_cache(_MOST_KNOWN)(self._read_attempt)

    def is_known(self, job_id: str, token: str) -> bool:
        """Whether a token is that of an attempt at a job, which may be over or deleted since."""
        try:
            self._known(job_id, digest(token))
        except UnknownAttempt:
            return False
        return True

    def receive(self, job_id: str, attempt: int, token: str, reported: Sequence[WorkerEvent]) -> Receipt:
        """Store a report's events that are new; without any it is a sign of life.

        Raises:
            UnknownAttempt: there is no such attempt, or the token is another's.
            StaleAttempt: the attempt is over.
        """
        if not reported:  # the common case, which costs no write
            with self._database.read() as connection:
                row = _attempt(connection, job_id, attempt, token)
            return _receipt(row, ended=row.status in TERMINAL_STATUSES)
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            row = _attempt(connection, job_id, attempt, token)
            ended = row.status in TERMINAL_STATUSES
            if not ended:
                ended = _store(connection, job_id, row, reported, self._replay_of(connection, job_id, row.number))
            return _receipt(row, ended=ended)

    def _read_attempt(self, job_id: str, token_hash: str) -> None:
        query = select(attempts.c.number).where(attempts.c.job_id == job_id, attempts.c.token_hash == token_hash)
        with self._database.read() as connection:
            if connection.execute(query).first() is None:
                raise UnknownAttempt

    def token_hash(self, job_id: str, attempt: int) -> str | None:
        """Return what is stored of an attempt's token; None if there is no such attempt."""
        query = select(attempts.c.token_hash).where(attempts.c.job_id == job_id, attempts.c.number == attempt)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one_or_none()

    def _replay_of(self, connection: Connection, job_id: str, attempt: int) -> _Replay:
        """Return what earlier attempts have reported. It does not change while the attempt runs, so it is read once."""
        if attempt == 1:
            return _Replay()
        key = (job_id, attempt)
        with self._lock:
            known = self._replays.get(key)
        if known is None:
            known = _Replay.of(connection, job_id, attempt)
            with self._lock:
                self._replays[key] = known
                while len(self._replays) > _MOST_REPLAYS:
                    self._replays.popitem(last=False)
        return known


def _attempt(connection: Connection, job_id: str, attempt: int, token: str) -> Row[Any]:
    query = (
        select(attempts, jobs.c.status, jobs.c.attempt.label("current"), jobs.c.cancel_requested)
        .join(jobs, jobs.c.id == attempts.c.job_id)
        .where(attempts.c.job_id == job_id, attempts.c.number == attempt)
    )
    row = connection.execute(query).one_or_none()
    if row is None or not hmac.compare_digest(row.token_hash, digest(token)):
        raise UnknownAttempt
    if row.number != row.current or row.status in {JobStatus.QUEUED, JobStatus.PAUSED}:
        raise StaleAttempt
    return row


def _receipt(row: Row[Any], *, ended: bool) -> Receipt:
    return Receipt(cancel=ended or row.cancel_requested, ended=ended)


def _store(
    connection: Connection, job_id: str, row: Row[Any], reported: Sequence[WorkerEvent], replay: _Replay
) -> bool:
    """Store events that are new; return whether one of them ended the job."""
    new = []
    for event in reported:
        if event.seq <= row.last_seq:
            continue
        register_artifacts(connection, job_id, event.artifacts)
        if not replay.has(event):
            new.append(NewEvent(event.type, event.fields, Origin(row.number, event.seq)))
        if event.type in LAST_EVENT_TYPES:
            break
    append(connection, job_id, new)
    last_seq = max(row.last_seq, reported[-1].seq)
    connection.execute(
        update(attempts).where(attempts.c.job_id == job_id, attempts.c.number == row.number).values(last_seq=last_seq)
    )
    return any(event.type in LAST_EVENT_TYPES for event in new)


@attrs.frozen
class _Replay:
    """What earlier attempts have told already: a resumed one goes through some of their steps again.

    Attributes:
        started: whether training has begun before.
        trained, evaluated: the last step with a loss of either kind; two logs may share a step.
        saved: the steps whose checkpoints are known.
        sampled: the steps and prompts whose answers are known.
    """

    started: bool = False
    trained: int = -1
    evaluated: int = -1
    saved: frozenset[int] = frozenset()
    sampled: frozenset[tuple[int, int]] = frozenset()

    @classmethod
    def of(cls, connection: Connection, job_id: str, attempt: int) -> _Replay:
        earlier = (events.c.job_id == job_id, events.c.attempt < attempt)
        query = select(events.c.type, events.c.is_evaluation, func.max(events.c.step)).where(*earlier)
        last = {
            (kind, is_evaluation): step
            for kind, is_evaluation, step in connection.execute(query.group_by(events.c.type, events.c.is_evaluation))
        }
        saved = connection.execute(select(events.c.step).where(*earlier, events.c.type == "checkpoint.saved")).scalars()
        sampled = connection.execute(select(events.c.data).where(*earlier, events.c.type == "sample.made")).scalars()
        return cls(
            started=("training.started", False) in last,
            trained=last.get(("training.log", False), -1),
            evaluated=last.get(("training.log", True), -1),
            saved=frozenset(saved),
            sampled=frozenset((sample["step"], sample["sample"]) for sample in map(json.loads, sampled)),
        )

    def has(self, event: WorkerEvent) -> bool:
        if event.type == "training.started":
            return self.started
        if event.type == "training.log":
            is_evaluation = event.fields.get("evalLoss") is not None
            return event.step <= (self.evaluated if is_evaluation else self.trained)
        if event.type == "sample.made":
            return (event.step, event.fields["sample"]) in self.sampled
        return event.type == "checkpoint.saved" and event.step in self.saved
