"""Jobs as the scheduler sees them: claimed, given back, paused, ended on a worker's behalf."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

import attrs
from sqlalchemy import ColumnElement, Connection, Row, func, insert, literal, select, update

from arkor.backend.store.database import Database, digest, new_token, now, tell
from arkor.backend.store.events import NewEvent, append
from arkor.backend.store.schema import attempts, events, jobs, servers
from arkor.backend.store.servers import alive, seconds_now
from arkor.backend.store.sql import lock_job
from arkor.protocol import wire
from arkor.protocol.batches import Batches
from arkor.protocol.config import SETTINGS
from arkor.protocol.jobs import TERMINAL_STATUSES, JobStatus

_DEATHS_AT_A_STEP = 2  # of a worker; the second one is taken for a lack of memory
_KEPT_BATCHES = (
    "The batches cannot become smaller than batch_size={} with full_determinism: set a smaller one, and more "
    "gradient_accumulation_steps. "
)
_PROGRESS_TYPES = ("training.log", "checkpoint.saved")
_WAITS_FOR_ROOM = (jobs.c.status == JobStatus.PAUSED.value) & jobs.c.disk_full_since.is_not(None)

# The word stands in the query, not in a parameter: an index of the queued jobs alone can serve no other query.
_QUEUED = jobs.c.status == literal(JobStatus.QUEUED.value, literal_execute=True)
_ENDED = jobs.c.status.in_(TERMINAL_STATUSES)
_RUNNING = (
    select(jobs.c.id, jobs.c.attempt, attempts.c.worker, _ENDED, servers.c.machine)
    .join(attempts, (attempts.c.job_id == jobs.c.id) & (attempts.c.number == jobs.c.attempt))
    .outerjoin(servers, servers.c.id == attempts.c.server_id)
    .where(~attempts.c.ended, (jobs.c.status == JobStatus.RUNNING.value) | _ENDED)
    .order_by(jobs.c.number)
)

PAUSED_BY_USER = "it was paused by a person"


@attrs.frozen(kw_only=True)
class ClaimedJob:
    """A job whose next attempt is about to start.

    Attributes:
        id: the job's.
        attempt: its number, from 1.
        token: what the attempt's worker proves itself with; stored nowhere but as a hash.
        name: the job's.
        config: its settings in wire names, the blob's token included, with the batches that memory suffices for.
        resumed_from_step: the step that another job's checkpoint, which this job began with, was saved at; or None.
    """

    id: str
    attempt: int
    token: str = attrs.field(repr=False)
    name: str
    config: dict[str, Any] = attrs.field(repr=False)
    resumed_from_step: int | None = None

    @property
    def devices(self) -> int:
        """How many devices it trains on."""
        return devices_of(self.config)


@attrs.frozen
class AwaitingJob:
    """A job that needs more devices than are free, and waits for them at this server.

    Attributes:
        id: the job's.
    """

    id: str


@attrs.frozen(kw_only=True)
class Loss:
    """How an attempt was lost.

    Attributes:
        reason: a clause, such as ``its worker stopped reporting``.
        died: whether its worker's process was ended by a signal.
        no_memory: whether memory ran out.
        last_words: what else the failure of a job says that is given up, such as the end of its worker's log.
    """

    reason: str
    died: bool = False
    no_memory: bool = False
    last_words: str = ""


@attrs.frozen
class WaitingForRoom:
    """A job that is paused because the disk is full.

    Attributes:
        job_id: the job's.
        for_s: seconds since the disk was first full for it, without progress in between.
    """

    job_id: str
    for_s: float


@attrs.frozen
class RunningAttempt:
    """An attempt that another process started, and whose worker it did not see leave.

    Attributes:
        job_id: the job's.
        attempt: its number, from 1.
        worker: its worker, as the engine names it; None where the backend ended before it was known.
        job_ended: whether the job has ended already, and its worker only has to leave.
        machine: where its server was, see ``servers.Server``; None if that is not known.
    """

    job_id: str
    attempt: int
    worker: str | None
    job_ended: bool
    machine: str | None = None


class Queue:
    """The scheduler's view of the jobs. Thread-safe.

    Args:
        database: the database.
        server_id: the server whose scheduler it is; None if it shares the database with no other.
    """

    def __init__(self, database: Database, server_id: str | None = None) -> None:
        self._database = database
        self._server_id = server_id

    def claim(
        self, put_off: Collection[str] = (), free: int | None = None, most: int | None = None
    ) -> ClaimedJob | AwaitingJob | None:
        """Mark the oldest queued job as running and begin its next attempt.

        If it needs more devices than are free, it waits for them here, and the jobs behind it wait with it: if they
        went ahead, there might never be enough for it. Other servers pass it over meanwhile, unless they have enough.

        Args:
            put_off: the ids of jobs whose turn has not come.
            free: how many devices no job has; None if that is no limit.
            most: the devices of this backend: a job that needs more is passed over, and stays in the queue; None if
                that is no limit.

        Returns:
            The job, or the one that waits here for devices; None if the queue has neither.
        """
        waiting = [_QUEUED, jobs.c.id.not_in(put_off)]
        waiting += [] if most is None else [_devices() <= most]
        with self._database.write() as connection:
            row = self._next(connection, waiting, free)
            if row is None:
                return None
            if free is not None and devices_of(row.config) > free:
                if row.awaited_by != self._server_id:
                    _update(connection, row.id, awaited_by=self._server_id)
                return AwaitingJob(row.id)
            if row.awaited_by not in {None, self._server_id}:
                tell(connection, row.id)  # the other server's devices are for other jobs again
            token, number = new_token(), row.attempt + 1
            started_at = row.started_at or now()
            values = {"status": JobStatus.RUNNING.value, "attempt": number, "started_at": started_at}
            _update(connection, row.id, **values, awaited_by=None)
            values = {"job_id": row.id, "number": number, "token_hash": digest(token), "server_id": self._server_id}
            connection.execute(insert(attempts).values(values))
        config = _batches(row).applied_to(_with_tokens(row))
        return ClaimedJob(
            id=row.id,
            attempt=number,
            token=token,
            name=row.name,
            config=config,
            resumed_from_step=row.resumed_from_step,
        )

    def _next(
        self, connection: Connection, waiting: Sequence[ColumnElement[bool]], free: int | None
    ) -> Row[Any] | None:
        """Return the oldest job that can begin here now, or wait here for devices; None if there is no such job."""
        query = select(jobs).where(*waiting).order_by(jobs.c.number).limit(1).with_for_update(skip_locked=True)
        if self._server_id is not None and free is not None:
            by = jobs.c.awaited_by
            is_ours = by.is_(None) | (by == self._server_id) | by.not_in(alive())
            query = query.where((_devices() <= free) | is_ours)
        return connection.execute(query).one_or_none()

    def too_large(self, most: int) -> list[tuple[str, int]]:
        """Return the queued jobs that need more devices than there are, each with the number that it needs.

        Args:
            most: the devices of this backend.
        """
        query = select(jobs.c.id, _devices()).where(_QUEUED, _devices() > most)
        with self._database.read() as connection:
            return [(job_id, devices) for job_id, devices in connection.execute(query)]

    def record_worker(self, job_id: str, attempt: int, worker: str) -> None:
        """Remember which worker an attempt has, for a backend that starts anew."""
        with self._database.write() as connection:
            _change_attempt(connection, job_id, attempt, worker=worker)

    def running(self) -> list[RunningAttempt]:
        """Return the attempts whose workers are not known to have left, of all servers, oldest job first."""
        with self._database.read() as connection:
            return [RunningAttempt(*row) for row in connection.execute(_RUNNING)]

    def take_over(self) -> list[RunningAttempt]:
        """Make the attempts this server's whose server is not alive, and return all that are its own by now."""
        free = attempts.c.server_id.is_(None) | attempts.c.server_id.not_in(alive())
        orphans = _RUNNING.where(free).with_for_update(of=attempts, skip_locked=True)
        own = _RUNNING.where(attempts.c.server_id == self._server_id)
        with self._database.write() as connection:
            taken = {row.id: row for row in connection.execute(orphans)}
            for row in taken.values():
                _change_attempt(connection, row.id, row.attempt, server_id=self._server_id)
            found = connection.execute(own).all()
        return [RunningAttempt(*taken.get(row.id, row)) for row in found]  # with the machine where it began

    def hear(self, job_id: str, attempt: int) -> None:
        """Let the server of an attempt know that its worker has reported to this one."""
        with self._database.write() as connection:
            _change_attempt(connection, job_id, attempt, heard_at=seconds_now())

    def silent_s(self, job_id: str, attempt: int) -> float | None:
        """Return how many seconds ago an attempt's worker last reported to another server; None if it never did."""
        silent = seconds_now() - attempts.c.heard_at
        query = select(silent).where(attempts.c.job_id == job_id, attempts.c.number == attempt)
        with self._database.read() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else float(found)

    def is_under_way(self, job_id: str) -> bool:
        """Whether a job's worker is there, on any server, also after the job's last event."""
        query = select(attempts.c.number).where(attempts.c.job_id == job_id, ~attempts.c.ended).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    def has_work(self) -> bool:
        """Whether any job is queued or running, or goes on by itself when the disk has room."""
        active = jobs.c.status.in_((JobStatus.QUEUED.value, JobStatus.RUNNING.value)) | _WAITS_FOR_ROOM
        query = select(func.count()).select_from(jobs).where(active)
        with self._database.read() as connection:
            return connection.execute(query).scalar_one() > 0

    def is_cancelling(self, job_id: str) -> bool:
        """Whether the job was asked to end."""
        with self._database.read() as connection:
            return bool(connection.execute(select(jobs.c.cancel_requested).where(jobs.c.id == job_id)).scalar_one())

    def is_pausing(self, job_id: str) -> bool:
        """Whether the job was asked to pause."""
        with self._database.read() as connection:
            query = select(jobs.c.pause_requested).where(jobs.c.id == job_id)
            return bool(connection.execute(query).scalar_one_or_none())  # it may have been deleted meanwhile

    def give_back(self, job_id: str, attempt: int) -> None:
        """Queue a job again whose attempt was ended by a stop or a pause of the backend itself."""
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            if _end_attempt(connection, job_id, attempt) is not None:
                _queue(connection, job_id)

    def lose(self, job_id: str, attempt: int, loss: Loss, max_attempts: int) -> None:
        """Queue a job again whose attempt was lost, or fail it after too many in a row that made no progress.

        Progress is a log or a checkpoint that no earlier attempt has reported. A job whose memory ran out, or whose
        worker died at the same step a second time, goes on with smaller batches; with full determinism the batches
        stay as they are.

        Args:
            job_id: the job's.
            attempt: the lost one.
            loss: how it was lost.
            max_attempts: how many may be lost, this one included, until the job fails.
        """
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            row = _end_attempt(connection, job_id, attempt)
            if row is not None:
                _take_loss(connection, row, loss, max_attempts)

    def pause_for_room(self, job_id: str, attempt: int, reason: str) -> bool:
        """Pause a job whose attempt ended because the disk was full; see ``waiting_for_room``.

        Returns:
            Whether it is the first time, or it has made progress since the last time.
        """
        is_first = True
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            row = _end_attempt(connection, job_id, attempt)
            if row is not None:
                is_first = row.disk_full_since is None or _made_progress(connection, job_id, attempt)
                since = now() if is_first else row.disk_full_since
                pause(connection, row, reason, disk_full_since=since)
        return is_first

    def waiting_for_room(self) -> list[WaitingForRoom]:
        """Return the jobs that are paused because the disk is full, the oldest first."""
        query = select(jobs.c.id, jobs.c.disk_full_since).where(_WAITS_FOR_ROOM).order_by(jobs.c.number)
        at = datetime.now(timezone.utc)
        with self._database.read() as connection:
            found = [(job_id, wire.moment(since) or at) for job_id, since in connection.execute(query)]
        return [WaitingForRoom(job_id, (at - since).total_seconds()) for job_id, since in found]

    def try_again(self, job_id: str) -> None:
        """Queue a job again that is paused because the disk was full; do nothing if it is not."""
        self._database.hold_back()
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            if _waits_for_room(connection, job_id):
                unpause(connection, job_id)

    def give_up_waiting(self, job_id: str, error: str) -> None:
        """Fail a job that is paused because the disk is full; do nothing if it is not."""
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            if _waits_for_room(connection, job_id):
                append(connection, job_id, [NewEvent("training.failed", {"error": error})])

    def fail(self, job_id: str, attempt: int, error: str) -> None:
        """Fail a job whose worker ended without a word."""
        with self._database.write() as connection:
            lock_job(connection, job_id)
            tell(connection, job_id)
            if _end_attempt(connection, job_id, attempt) is not None:
                append(connection, job_id, [NewEvent("training.failed", {"error": error})])


def devices_of(config: Mapping[str, Any]) -> int:
    """Return how many devices a job trains on.

    Args:
        config: its settings in wire names.
    """
    return int(config.get("devices") or SETTINGS["devices"].value)


def _devices() -> ColumnElement[int]:
    """Return the same as a column of the table."""
    return func.coalesce(jobs.c.config["devices"].as_integer(), SETTINGS["devices"].value)


def _waits_for_room(connection: Connection, job_id: str) -> bool:
    return connection.execute(select(jobs.c.id).where(jobs.c.id == job_id, _WAITS_FOR_ROOM)).first() is not None


def _change_attempt(connection: Connection, job_id: str, attempt: int, **values: Any) -> None:
    of_attempt = (attempts.c.job_id == job_id, attempts.c.number == attempt)
    connection.execute(update(attempts).where(*of_attempt).values(**values))


def _update(connection: Connection, job_id: str, **values: Any) -> None:
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(**values))


def _queue(connection: Connection, job_id: str, **values: Any) -> None:
    """Put a job into the queue again."""
    _update(connection, job_id, status=JobStatus.QUEUED.value, **values)
    tell(connection, job_id, queued=True)


def _end_attempt(connection: Connection, job_id: str, attempt: int) -> Row[Any] | None:
    """Close an attempt; return its job where it still needs a verdict. One that was to be cancelled, or paused, is."""
    _change_attempt(connection, job_id, attempt, ended=True)
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    if row.status != JobStatus.RUNNING or row.attempt != attempt:
        return None
    if row.cancel_requested:
        append(connection, job_id, [NewEvent("training.cancelled", {})])
        return None
    if row.pause_requested:
        pause(connection, row, PAUSED_BY_USER)
        return None
    return row


def pause(connection: Connection, job: Row[Any], reason: str, *, disk_full_since: str | None = None) -> None:
    """Pause a job whose worker has left, or that has none.

    Args:
        connection: a writing one.
        job: its row.
        reason: why, in a clause.
        disk_full_since: since when the disk is full for it; None if only a person unpauses it.
    """
    _update(
        connection,
        job.id,
        status=JobStatus.PAUSED.value,
        pause_requested=False,
        pause_reason=reason,
        disk_full_since=disk_full_since,
    )
    append(connection, job.id, [NewEvent("training.paused", {"reason": reason, **_step(job)})])


def unpause(connection: Connection, job_id: str) -> None:
    """Queue a paused job again."""
    _queue(connection, job_id, pause_reason=None)
    append(connection, job_id, [NewEvent("training.unpaused", {})])


def _take_loss(connection: Connection, job: Row[Any], loss: Loss, max_attempts: int) -> None:
    progressed = _made_progress(connection, job.id, job.attempt)
    lost = 0 if progressed else job.lost_attempts + 1
    deaths = (0 if progressed else job.deaths) + loss.died
    is_memory = (loss.no_memory or deaths >= _DEATHS_AT_A_STEP) and _has_begun(connection, job.id)
    keeps = bool(job.config.get("fullDeterminism"))  # with other batches, gradients are rounded otherwise
    if is_memory and not keeps:  # before the training has begun, batches take no memory
        smaller = _batches(job).smaller()
        if smaller is not None:
            _requeue(connection, job, loss, smaller, lost_attempts=0, deaths=0, batch_size=smaller.size)
            return
        if loss.no_memory:
            _fail(connection, job, loss, f"{_sentence(loss)}, with one row in a batch")
            return
    if lost < max_attempts:
        _requeue(connection, job, loss, lost_attempts=lost, deaths=deaths)
    else:
        kept = _KEPT_BATCHES.format(_batches(job).size) if is_memory and keeps else ""
        _fail(connection, job, loss, f"{kept}Gave up after {lost} lost attempts; in the last one {loss.reason}")


def _fail(connection: Connection, job: Row[Any], loss: Loss, error: str) -> None:
    append(connection, job.id, [NewEvent("training.failed", {"error": error + loss.last_words, **_step(job)})])


def _requeue(connection: Connection, job: Row[Any], loss: Loss, batches: Batches | None = None, **values: Any) -> None:
    sizes = {} if batches is None else {"batchSize": batches.size, "gradientAccumulationSteps": batches.count}
    _queue(connection, job.id, **values)
    append(connection, job.id, [NewEvent("training.interrupted", {"reason": _sentence(loss), **_step(job), **sizes})])


def _sentence(loss: Loss) -> str:
    return loss.reason[:1].upper() + loss.reason[1:]


def _step(job: Row[Any]) -> dict[str, int]:
    return {} if job.last_step is None else {"step": job.last_step}


def _batches(job: Row[Any]) -> Batches:
    return Batches.of(job.config, job.batch_size)


def _has_begun(connection: Connection, job_id: str) -> bool:
    """Whether any attempt has begun to train."""
    begun = (events.c.job_id == job_id, events.c.type == "training.started")
    return connection.execute(select(events.c.id).where(*begun).limit(1)).first() is not None


def _made_progress(connection: Connection, job_id: str, attempt: int) -> bool:
    new = (events.c.job_id == job_id, events.c.attempt == attempt, events.c.type.in_(_PROGRESS_TYPES))
    return connection.execute(select(events.c.id).where(*new).limit(1)).first() is not None


def _with_tokens(job: Row[Any]) -> dict[str, Any]:
    """Return a job's settings as they were submitted."""
    tokens = {"datasetSource": job.blob_token, "evalDatasetSource": job.eval_blob_token}
    given = {name: token for name, token in tokens.items() if token is not None}
    return {**job.config, **{name: {**job.config[name], "token": token} for name, token in given.items()}}
