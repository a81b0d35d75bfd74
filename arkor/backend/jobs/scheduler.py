"""The queue's engine room: which job trains now, and what becomes of one whose worker is gone.

After whatever happens to a worker or to the backend, a job is running, queued to be resumed, or ended with an event
that says why.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.job_folder import (
    held_gpus,
    kept_threads,
    leftovers,
    log_path,
    log_tail,
    spec_path,
    write_spec,
)
from arkor.backend.jobs.membership import Membership
from arkor.backend.jobs.retries import Retries
from arkor.backend.jobs.room import Room
from arkor.backend.jobs.runs import Run
from arkor.backend.processes.engine import Engine, EngineAway, Launch, WorkerHandle
from arkor.backend.processes.exit_reasons import (
    DISK_FULL_EXIT_CODE,
    LESS_MEMORY,
    NO_BACKEND_EXIT_CODE,
    NO_MEMORY_EXIT_CODE,
    NO_STORAGE_EXIT_CODE,
    NODE_LOST_EXIT_CODE,
    NOT_STARTED_EXIT_CODE,
    RESUMABLE_EXIT_CODES,
    describe_death,
    describe_exit,
    shown_log,
)
from arkor.backend.processes.memory_limit import limit_bytes, oom_kills
from arkor.backend.settings import Settings
from arkor.backend.store.database import UNAVAILABLE, reason_of
from arkor.backend.store.queue import AwaitingJob, ClaimedJob, Loss, Queue, RunningAttempt
from arkor.system.files import is_no_space, rotate_log

log = logging.getLogger("arkor.backend")

_LOOK_S = 0.5  # between two looks at a worker that an earlier backend process started
_RETRY_S = 1.0  # after an error of the scheduler's own, such as a full disk
_TICK_S = 0.25  # between two signs that this process is awake, where no lease asks for finer ones
_TICKS_A_LEASE = 20
_LONGEST_START_DELAY_S = 60.0
_WAITING_LOOK_S = 5.0  # between two looks at workers that the engine has no room for
_BEAT_S = 5.0  # between two signs of life of a scheduler that has nothing to do
_LACKS = {
    NODE_LOST_EXIT_CODE: "the process of a device, or its node, was gone",
    NO_STORAGE_EXIT_CODE: "the storage could not be used",
}


class Scheduler:
    """Starts the workers of queued jobs, and settles every job whose worker is gone. Thread-safe.

    One thread does all of it; the other methods only leave a note and wake it.

    A worker cannot be heard while this process is held up: stopped by a signal, or without its share of the machine.
    So leases are counted in ticks. The time between two ticks counts, up to the length of one. Ticks that are more than
    two lengths apart mean that this process was held up, and every lease begins again. A pause that is too short to be
    noticed costs a lease at most one tick, a twentieth of it.

    Args:
        queue: the jobs.
        membership: this server among those that share the jobs.
        engine: starts and ends workers.
        settings: how many at a time, and every patience.
        backend_url: where workers report.
        devices: what jobs train on.
        monotonic: the clock, in seconds.
    """

    def __init__(
        self,
        queue: Queue,
        membership: Membership,
        engine: Engine,
        settings: Settings,
        backend_url: str,
        *,
        devices: Devices,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue = queue
        self._membership = membership
        self._engine = engine
        self._settings = settings
        self._backend_url = backend_url
        self._devices = devices
        self._monotonic = monotonic
        self._tick_s = min(_TICK_S, settings.lease_s / _TICKS_A_LEASE)
        self._ticked_at = self._beat_at = monotonic()
        self._runs: dict[str, Run] = {}
        self._failed_starts = Retries(settings.start_retry_s, _LONGEST_START_DELAY_S, monotonic)
        self._room = Room(queue, settings, monotonic)
        self._wake = threading.Condition()
        self._news = False
        self._heard: set[str] = set()  # jobs that concern this server, for which another one stored something
        self._is_full = False  # no job that is queued now could begin here, by the last look at the queue
        self._awaiting: str | None = None  # the job that the free devices are kept for
        self._stopping = self._is_stuck = False
        self._turned_at = monotonic()
        self._thread = threading.Thread(target=self._loop, name="scheduler", daemon=True)

    def start(self) -> None:
        """Take over what an earlier backend process left running, and begin to work."""
        self._take_over()
        self._look_at_adopted()
        running = self._queue.running()  # other servers' too: one of them may have taken over a worker of this folder
        self._end_strays({WorkerHandle(attempt.worker) for attempt in running if attempt.worker is not None})
        needed = {attempt.job_id for attempt in running}
        most = self._devices.most
        for job_id, devices in self._queue.too_large(most) if most is not None else []:
            log.warning("Job %s waits: it needs %d devices, and this backend has %d by now", job_id, devices, most)
        for folder in self._settings.jobs_folder.glob("*"):
            if folder.name not in needed:
                _clean(folder)
        self._thread.start()

    def submitted(self) -> None:
        """Hear that a job was queued."""
        self._notify()

    def others_stored(self, job_ids: Sequence[str] | None, queued: bool) -> bool:
        """Hear that another server stored something for jobs.

        Among many servers, most of this news concerns others, and must cost nothing here.

        Args:
            job_ids: the jobs; None for any job.
            queued: whether one of them was put into the queue.

        Returns:
            Whether it concerns this server, so that a turn is due.
        """
        with self._wake:
            if job_ids is None:
                heard = set(self._runs)
                self._news = True
            elif queued and not self._is_full:
                heard = set(job_ids)
            else:
                heard = {job_id for job_id in job_ids if job_id in self._runs or job_id == self._awaiting}
            self._heard |= heard
            concerns = bool(heard) or job_ids is None
            if concerns:
                self._wake.notify_all()
            return concerns

    def silent_s(self) -> float | None:
        """Return the seconds since its thread gave its last sign of life; None where it does not run."""
        return self._monotonic() - self._beat_at if self._thread.is_alive() else None

    def is_training(self) -> bool:
        """Whether any worker is under way."""
        with self._wake:
            return bool(self._runs)

    def kept_threads(self) -> int:
        """Return on how many threads the jobs under way compute that give no cores away while a chat is answered."""
        with self._wake:
            return sum(run.kept_threads for run in self._runs.values())

    def held_bytes(self) -> int:
        """Return the memory of this machine that the workers under way have, in bytes."""
        with self._wake:
            handles = [run.handle for run in self._runs.values()]
        return sum(self._engine.held_bytes(handle) for handle in handles if handle is not None)

    def heard_from(self, job_id: str, attempt: int) -> None:
        """Hear that an attempt's worker has reported: its lease is renewed, and its log kept within bounds."""
        rotate_log(log_path(self._settings, job_id))
        with self._wake:
            run = self._runs.get(job_id)
            if run is not None and run.attempt == attempt:
                self._tick()
                is_first = run.lease_s > self._settings.lease_s
                run.begin_lease(self._settings.lease_s)
            else:
                run = None
        if run is None:
            self._membership.hear(job_id, attempt)
        elif is_first:  # the first report ends the longer patience of the start
            self._notify()

    def ending(self, job_id: str) -> None:
        """Hear that a job was cancelled or has ended: its worker has to go soon."""
        self._failed_starts.forget(job_id)
        self._room.forget(job_id)
        with self._wake:
            run = self._runs.get(job_id)
            if run is not None and run.grace_left_s is None:
                self._tick()
                run.grace_left_s = self._settings.cancel_grace_s
        self._notify()

    def pausing(self, job_id: str) -> None:
        """Hear that a job was asked to pause: its worker has to save what it has, and to go soon."""
        with self._wake:
            run = self._runs.get(job_id)
            handle = None if run is None else run.handle
        if handle is not None:
            self._engine.terminate(handle)
        self.ending(job_id)

    def stop(self) -> None:
        """Start nothing more, let every worker save what it has, and queue its job again."""
        with self._wake:
            self._stopping = True
        self._notify()
        self._thread.join()
        for run in self._runs.values():
            if run.handle is not None:
                self._engine.terminate(run.handle)
        self._await_workers(time.monotonic() + self._settings.stop_grace_s)
        for run in list(self._runs.values()):
            self._kill(run)
            try:
                self._settle(run)
            except Exception:  # the next process finds the job running and its worker gone, and settles it then
                log.exception("Job %s could not be queued again", run.job_id)
        with contextlib.suppress(*UNAVAILABLE):  # then its time runs out
            self._membership.leave()

    def _await_workers(self, deadline: float) -> None:
        with self._wake:
            while any(run.handle is not None and not run.gone for run in self._runs.values()):
                left = deadline - time.monotonic()
                if left <= 0:
                    return
                self._wake.wait(min(left, _LOOK_S / 5))
                self._look_at_adopted()

    def _notify(self) -> None:
        with self._wake:
            self._news = True
            self._wake.notify_all()

    def _loop(self) -> None:
        delay: float | None = 0.0
        while self._await_news(delay):
            try:
                delay = self.turn()
                self._is_stuck = False
            except Exception as exc:  # what could not be done now is done later, and never dropped
                self._tell_of(exc)
                delay = _RETRY_S

    def _tell_of(self, exc: Exception) -> None:
        if not isinstance(exc, UNAVAILABLE):
            log.exception("The scheduler failed; it tries again in %g s", _RETRY_S, exc_info=exc)
            return
        if not self._is_stuck:
            self._is_stuck = True
            log.warning("The scheduler cannot store anything; it tries again each second: %s", reason_of(exc))
        with self._wake:  # reports cannot be stored either, so the silence of a worker says nothing
            for run in self._runs.values():
                run.held_up(run.lease_s)

    def _await_news(self, delay: float | None) -> bool:
        """Wait for a note, for so many seconds at most, ticking; return False when there is nothing more to do."""
        until = None if delay is None else self._monotonic() + delay
        with self._wake:
            self._beat_at = self._monotonic()
            while not self._news and not self._stopping:
                self._tick()
                self._beat_at = self._ticked_at
                left = None if until is None else until - self._monotonic()
                if left is not None and left <= 0:
                    break
                if self._heard and self._monotonic() - self._turned_at >= _TICK_S:
                    break  # not at once: another server may store many things a second
                wait_s = _BEAT_S if left is None else min(left, self._tick_s)
                self._wake.wait(min(wait_s, _TICK_S) if self._heard else wait_s)
            self._news = False
            self._turned_at = self._monotonic()
            return not self._stopping

    def _tick(self) -> None:
        """Count the time since the last tick, or begin every lease again where it was too long. Needs the lock."""
        now = self._monotonic()
        passed, self._ticked_at = now - self._ticked_at, now
        for run in self._runs.values():
            if passed > 2 * self._tick_s:
                run.held_up(passed)
            else:
                run.pass_time(min(passed, self._tick_s))

    def turn(self) -> float | None:
        """Do what is due now; return the seconds until something may be due again, or None.

        The scheduler's own thread calls it, and a test in place of that thread.
        """
        is_renewal = self._membership.due_s == 0
        if is_renewal:
            self._take_over()
        self._hear_requests()
        self._look_at_adopted()
        with self._wake:
            self._tick()
            runs = list(self._runs.values())
            has_waiting = self._renew_waiting(runs)
        for run in runs:
            if not run.gone and run.due_s <= 0:
                self._take_for_silent(run)
        for run in runs:
            if run.silent:
                self._kill(run)
            if run.gone or run.silent:
                self._settle(run)
        look_s = self._room.look(of_others=is_renewal)
        put_off = self._start_queued()
        with self._wake:
            waits = [run.due_s for run in self._runs.values()]
            waits += [_LOOK_S for run in self._runs.values() if run.adopted]
        waits += [_WAITING_LOOK_S] if has_waiting else []
        waits += [due - self._monotonic() for due in put_off.values()]
        waits += [wait for wait in (look_s, self._membership.due_s) if wait is not None]
        return max(0.0, min(waits)) if waits else None

    def _renew_waiting(self, runs: list[Run]) -> bool:
        """Begin the leases of workers again that the engine has not started yet; return whether there are any."""
        waiting = [run for run in runs if run.handle is not None and self._engine.is_waiting(run.handle)]
        for run in waiting:
            run.begin_lease(run.lease_s)
        return bool(waiting)

    def _start_queued(self) -> dict[str, float]:
        """Start as many jobs as there is room for; return when each job is due that only has to wait."""
        self._is_full, self._awaiting = False, None  # before the look, so that no news is missed
        while len(self._runs) < self._devices.most_jobs:
            free = self._devices.free([gpu for run in self._runs.values() for gpu in run.gpus])
            if self._devices.gpus and not free:
                break
            put_off = self._failed_starts.put_off()
            job = self._queue.claim(put_off, len(free) if self._devices.gpus else None, self._devices.most)
            if isinstance(job, AwaitingJob):
                self._is_full, self._awaiting = True, job.id
            if not isinstance(job, ClaimedJob):
                return put_off
            self._begin(job, free[: job.devices])
        self._is_full = True
        return {}

    def _begin(self, job: ClaimedJob, gpus: Sequence[str]) -> None:
        run = Run(job.id, job.attempt, self._settings.first_lease_s, gpus=tuple(gpus), kills_before=oom_kills())
        self._take_in(run)

        def note_exit(code: int | None) -> None:
            run.exit_code, run.gone = code, True
            self._notify()

        try:
            path = write_spec(self._settings, job, self._backend_url, self._devices.threads(job.devices), gpus)
            run.kept_threads = kept_threads(self._settings.job_folder(job.id)) or 0
            launch = Launch(
                name=f"{job.id}-{job.attempt}",
                spec_path=path,
                log_path=log_path(self._settings, job.id),
                devices=job.devices,
            )
            run.handle = self._engine.start(launch, note_exit)
        except OSError as exc:
            if is_no_space(exc):
                self._room.await_room(job.id, job.attempt)
            else:
                self._note_failed_start(job, exc)
            self._forget(run)
            return
        self._failed_starts.forget(job.id)
        log.info("Job %s, attempt %d: worker %s started", job.id, job.attempt, run.handle)
        self._obey(job.id)  # what was asked for before there was a run to be told
        self._queue.record_worker(job.id, job.attempt, run.handle.text)

    def _note_failed_start(self, job: ClaimedJob, exc: OSError) -> None:
        """Queue a job again whose worker could not be started, or fail it after too many tries that had an answer."""
        tries, delay = self._failed_starts.note(job.id)
        if tries >= self._settings.max_starts and not isinstance(exc, EngineAway):
            self._failed_starts.forget(job.id)
            self._queue.fail(job.id, job.attempt, f"Its worker could not be started, {tries} times: {exc}")
            return
        log.warning(
            "Job %s, attempt %d: its worker could not be started (%s); trying again in %g s",
            *(job.id, job.attempt, exc, delay),
        )
        self._queue.give_back(job.id, job.attempt)

    def _take_over(self) -> None:
        """Look after the attempts that are this server's by now, and after no others."""
        found = {attempt.job_id: attempt for attempt in self._membership.look()}
        for run in list(self._runs.values()):
            attempt = found.get(run.job_id)
            if attempt is None or attempt.attempt != run.attempt:  # its worker reports to another server by now
                log.warning("Job %s, attempt %d: another server looks after it", run.job_id, run.attempt)
                with self._wake:
                    del self._runs[run.job_id]
        for attempt in found.values():
            if attempt.job_id not in self._runs:
                self._adopt(attempt)

    def _hear_requests(self) -> None:
        """Learn which jobs another server was asked to cancel or to pause."""
        with self._wake:
            heard = [run for run in self._runs.values() if run.job_id in self._heard and run.grace_left_s is None]
            self._heard.clear()
        for run in heard:
            self._obey(run.job_id)

    def _obey(self, job_id: str) -> None:
        if self._queue.is_cancelling(job_id):
            self.ending(job_id)
        elif self._queue.is_pausing(job_id):
            self.pausing(job_id)

    def _take_for_silent(self, run: Run) -> None:
        """Give up a worker whose time is over, unless another server has heard of it."""
        if run.grace_left_s is None and self._membership.others_heard(run.job_id, run.attempt):
            with self._wake:
                run.begin_lease(run.lease_s)
        else:
            run.silent = True

    def _adopt(self, attempt: RunningAttempt) -> None:
        run = Run(attempt.job_id, attempt.attempt, self._settings.lease_s, adopted=True)
        if not self._engine.spans_machines and not self._membership.is_here(attempt):
            run.elsewhere = True
        elif attempt.worker is not None:
            run.handle = WorkerHandle(attempt.worker)
        else:  # the earlier process was killed as it started this worker
            run.handle = self._find_worker(run.job_id)
        if not run.elsewhere:
            gpus = held_gpus(self._settings, attempt.job_id)
            # An older arkor did not write them down, and its workers take the first one.
            run.gpus = self._devices.gpus[:1] if gpus is None else gpus
        run.kept_threads = kept_threads(self._settings.job_folder(run.job_id)) or 0
        self._take_in(run)
        if attempt.job_ended:
            self.ending(run.job_id)
        else:
            self._obey(run.job_id)
        log.info("Job %s, attempt %d: found running, worker %s", run.job_id, run.attempt, run.handle)

    def _end_strays(self, known: Collection[WorkerHandle]) -> None:
        """Kill the workers that no attempt needs: nothing else would end them, and each holds memory."""
        ours = {run.handle for run in self._runs.values() if run.handle is not None and not run.gone}
        for spec, handle in self._engine.find(self._settings.jobs_folder):
            if handle not in ours and handle not in known:
                log.warning("Worker %s, started for %s, belongs to no attempt: killing it", handle, spec)
                self._engine.kill(handle)

    def _take_in(self, run: Run) -> None:
        with self._wake:
            self._tick()  # the time before is not this run's
            self._runs[run.job_id] = run

    def _look_at_adopted(self) -> None:
        for run in list(self._runs.values()):
            if run.adopted and not run.elsewhere and (run.handle is None or not self._engine.is_alive(run.handle)):
                run.gone = True

    def _find_worker(self, job_id: str) -> WorkerHandle | None:
        spec = spec_path(self._settings, job_id)
        handles = [handle for found, handle in self._engine.find(self._settings.jobs_folder) if found == spec]
        return handles[-1] if handles else None

    def _kill(self, run: Run) -> None:
        if run.handle is not None and not run.gone:
            log.warning("Job %s, attempt %d: killing its worker", run.job_id, run.attempt)
            self._engine.kill(run.handle)

    def _settle(self, run: Run) -> None:
        """Decide what becomes of the job; what was decided already, by its last event or a cancel, stays so."""
        tail = log_tail(log_path(self._settings, run.job_id))
        loss = _loss(run, tail)
        if self._stopping:
            self._queue.give_back(run.job_id, run.attempt)
        elif run.exit_code == NO_BACKEND_EXIT_CODE and run.held_up_s >= self._settings.lease_s and not run.silent:
            self._queue.give_back(run.job_id, run.attempt)  # it had no answer because this process was held up
        elif run.exit_code == NOT_STARTED_EXIT_CODE:
            self._queue.give_back(run.job_id, run.attempt)
        elif run.exit_code == DISK_FULL_EXIT_CODE:
            self._room.await_room(run.job_id, run.attempt)
        elif loss is not None:
            self._queue.lose(run.job_id, run.attempt, loss, self._settings.max_attempts)
        else:
            self._queue.fail(run.job_id, run.attempt, describe_exit(run.exit_code or 0, tail))
        log.info("Job %s, attempt %d: over, exit code %s", run.job_id, run.attempt, run.exit_code)
        self._forget(run)

    def _forget(self, run: Run) -> None:
        with self._wake:
            self._runs.pop(run.job_id, None)
        _clean(self._settings.job_folder(run.job_id))


def _loss(run: Run, tail: str) -> Loss | None:
    """Return how an attempt was lost that can be made up for; None if its worker ended in another way."""
    if run.silent or run.exit_code is None:
        return Loss(reason="its worker stopped reporting" if run.silent else "its worker's process was gone")
    if run.exit_code in RESUMABLE_EXIT_CODES:
        return Loss(reason=f"its worker ended with exit code {run.exit_code}")
    if run.exit_code in _LACKS:
        return Loss(reason=_LACKS[run.exit_code], last_words=f".{shown_log(tail)}")
    was_killed = run.exit_code == -signal.SIGKILL and run.kills_before is not None and oom_kills() > run.kills_before
    if was_killed or run.exit_code == NO_MEMORY_EXIT_CODE:
        limit = limit_bytes() if was_killed else None
        known = "" if limit is None else f" (the limit is {limit / 2**30:.1f} GiB)"
        return Loss(reason=f"memory ran out{known}", no_memory=True, last_words=f": {LESS_MEMORY}.{shown_log(tail)}")
    if run.exit_code < 0:
        return Loss(reason=describe_death(run.exit_code), died=True, last_words=f".{shown_log(tail)}")
    return None


def _clean(folder: Path) -> None:
    """Remove what the last attempt at a job left behind, and no worker needs."""
    for path in leftovers(folder):
        try:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        except OSError as exc:  # the token in a spec is worth nothing any more: not a reason to stop the scheduler
            log.warning("Cannot remove %s: %s", path, exc)
