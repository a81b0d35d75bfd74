"""The engine that runs each worker as a job of a Ray cluster; one on several devices by way of ``ray_group``.

Ray starts a worker once and never again: a lost worker is the scheduler's to resume.
"""

from __future__ import annotations

import errno
import logging
import shlex
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.processes.engine import EngineAway, Launch, WorkerHandle
from arkor.backend.processes.exit_reasons import NOT_STARTED_EXIT_CODE, TERMINATED_EXIT_CODE
from arkor.backend.processes.ray_jobs import PENDING, STOPPED, SUCCEEDED, RayJob, RayJobs, RayRefuses
from arkor.errors import LocalBackendError

log = logging.getLogger("arkor.backend")

_PREFIX = "ray:"
_NODE_MODULE = "arkor.backend.processes.ray_node"
_GROUP_MODULE = "arkor.backend.processes.ray_group"
_SPEC, _LOG, _DEVICES = "arkor.spec", "arkor.log", "arkor.devices"
# Why a worker was never started: no node had room for 15 minutes, or the node that had was lost.
_NO_NODE = frozenset({"JOB_SUPERVISOR_ACTOR_START_TIMEOUT", "JOB_SUPERVISOR_ACTOR_DIED"})
_KILL_WAIT_S = 3.0
_KILLS_APART_S = 10.0
# Looks until a job is removed from Ray's list. Ray itself looks at a job once a second, and puts one back that was
# removed before its last look; that comes late if the node is gone.
_FORGET_LOOKS, _FORGET_LOST_LOOKS = 5, 90
_AWAY_S = 5.0
_TELL_LOOKS = 60
_BUSY_SHARE = 4.0  # between two looks, so much longer than the look took: many jobs must not keep the head busy
_LOG_BYTES = 1024**2


@attrs.frozen(kw_only=True)
class Reservation:
    """What each device of a job gets of the cluster.

    Attributes:
        cpus: CPUs that Ray sets aside, above 0.
        gpus: GPUs, also a part of one; 0 hides those of the node.
        python: the interpreter on the nodes.
        stop_wait_s: seconds from a stop until Ray kills the worker.
    """

    cpus: float = 1.0
    gpus: float = 0.0
    python: str = "python"
    stop_wait_s: float = 20.0


@attrs.define
class _Watched:
    """A worker whose end is waited for.

    Attributes:
        on_exit: whom to tell; None if an earlier process started the worker.
        is_waiting: whether no node has had room for it so far.
        killed: whether its kill was asked for.
        devices: how many it has.
        was_placed: whether all of them had room at some time, if there are several.
        looks: how often it was found waiting.
    """

    on_exit: Callable[[int | None], None] | None = None
    is_waiting: bool = False
    killed: bool = False
    devices: int = 1
    was_placed: bool = False
    looks: int = 0


def connect(address: str) -> RayJobs:
    """Return the jobs of a cluster, which may not answer yet.

    Args:
        address: the dashboard of its head.

    Raises:
        LocalBackendError: it answers, and will not work: a wrong token, or no Ray.
    """
    jobs = RayJobs(address)
    try:
        log.info("Workers run on Ray %s at %s", jobs.version(), jobs.address)
    except RayRefuses as exc:
        raise LocalBackendError(str(exc)) from exc
    except EngineAway as exc:
        log.warning("Jobs wait until Ray answers. %s", exc)
    return jobs


class RayEngine:
    """Runs ``python -m <module> SPEC`` on a node of a Ray cluster, see ``ray_node``. Thread-safe.

    One thread asks the head about all workers; it ends with the last of them. While the head does not answer, a worker
    counts as alive: its lease decides.

    Args:
        jobs: the cluster.
        module: the worker's module.
        reservation: what each worker gets.
        look_s: seconds between two looks at the workers.
    """

    spans_machines = True

    def __init__(
        self, jobs: RayJobs, module: str, reservation: Reservation | None = None, *, look_s: float = 1.0
    ) -> None:
        self._jobs = jobs
        self._module = module
        self._reservation = Reservation() if reservation is None else reservation
        self._look_s = look_s
        self._changed = threading.Condition()
        self._watched: dict[WorkerHandle, _Watched] = {}
        self._forgotten_at: dict[WorkerHandle, float] = {}  # ended, and still in Ray's list
        self._killing_until = 0.0
        self._watcher: threading.Thread | None = None
        self._away: tuple[float, str] | None = None

    def start(self, launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        """Start a worker; see ``Engine.start``."""
        if self._away is not None and time.monotonic() < self._away[0]:  # many jobs must not each wait for no answer
            raise EngineAway(self._away[1])
        handle = WorkerHandle(f"{_PREFIX}arkor-{launch.name}")
        try:
            self._submit(_id(handle), launch)
            self._watch(handle, _Watched(on_exit, is_waiting=True, devices=launch.devices))
        except EngineAway as exc:
            self._away = (time.monotonic() + _AWAY_S, str(exc))
            raise
        except RuntimeError as exc:  # this machine has no thread left: without one its end would not be noticed
            self.terminate(handle)
            raise OSError(errno.EAGAIN, str(exc)) from exc
        return handle

    def _submit(self, job_id: str, launch: Launch) -> None:
        wanted, is_group = self._reservation, launch.devices > 1
        details: dict[str, Any] = {
            "entrypoint_num_cpus": 0 if is_group else wanted.cpus,  # a group reserves them itself, all or none
            "entrypoint_num_gpus": 0 if is_group else wanted.gpus,
            "metadata": {
                _SPEC: str(launch.spec_path),
                _LOG: str(launch.log_path),
                _DEVICES: str(launch.devices),
            },
            "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(round(wanted.stop_wait_s))}},
        }
        command = self._command(job_id, launch)
        try:
            self._jobs.submit(job_id, command, **details)
        except EngineAway:  # the answer may be lost alone; a job that is there already is not submitted twice
            self._jobs.submit(job_id, command, **details)

    def _command(self, job_id: str, launch: Launch) -> str:
        """Return what a node's shell runs: the program in place of the shell, so that Ray sees its exit code."""
        wanted = self._reservation
        program = [_NODE_MODULE]
        if launch.devices > 1:
            program = [_GROUP_MODULE, job_id, *map(str, (launch.devices, wanted.cpus, wanted.gpus)), wanted.python]
        return "exec " + shlex.join([wanted.python, "-P", "-m", *program, self._module, str(launch.spec_path)])

    def find(self, folder: Path) -> list[tuple[Path, WorkerHandle]]:
        """Return the workers that run for specs below a folder; see ``Engine.find``. None if Ray does not answer."""
        try:
            jobs = sorted(self._jobs.all().values(), key=lambda job: job.started_at)
        except EngineAway as exc:
            log.warning("Workers of an earlier process cannot be looked for. %s", exc)
            return []
        found = [
            (Path(job.metadata[_SPEC]), WorkerHandle(_PREFIX + job.id), job) for job in jobs if _SPEC in job.metadata
        ]
        ours = [(spec, handle, job) for spec, handle, job in found if spec.is_relative_to(folder)]
        for _, handle, job in ours:
            if job.has_ended:
                self._forget(handle)
        return [(spec, handle) for spec, handle, job in ours if not job.has_ended]

    def is_alive(self, handle: WorkerHandle) -> bool:
        """Whether that very worker has not ended, as far as is known; from the second time on without asking Ray."""
        with self._changed:
            if handle in self._watched:
                return True
            if handle in self._forgotten_at or not handle.text.startswith(_PREFIX):
                return False
        watched = _Watched()
        try:
            job = self._jobs.find(_id(handle))
        except EngineAway as exc:
            log.warning("Worker %s counts as alive for now. %s", handle, exc)
        else:
            if job is None or job.has_ended:
                self._settle(handle, job)
                return False
            watched.devices = int(job.metadata.get(_DEVICES, 1))
            watched.is_waiting = job.status == PENDING or watched.devices > 1
        self._watch(handle, watched)
        return True

    def is_waiting(self, handle: WorkerHandle) -> bool:
        """Whether no node has had room for the worker so far."""
        with self._changed:
            watched = self._watched.get(handle)
            return watched is not None and watched.is_waiting

    def terminate(self, handle: WorkerHandle) -> None:
        """Have Ray send SIGTERM to the worker and its processes; those that stay are killed after the stop time."""
        if not handle.text.startswith(_PREFIX):
            return
        try:
            self._jobs.stop(_id(handle))
        except EngineAway as exc:
            log.warning("Worker %s cannot be asked to end. %s", handle, exc)

    def kill(self, handle: WorkerHandle) -> None:
        """End a worker as ``terminate`` does, which is Ray's only way, and wait up to 3 s until it is gone.

        Several kills share these seconds: a node that is gone has many workers, whose end Ray notices late.
        """
        if not handle.text.startswith(_PREFIX):
            return
        self._watch(handle, _Watched()).killed = True
        self.terminate(handle)
        with self._changed:
            now = time.monotonic()
            if now > self._killing_until + _KILLS_APART_S:
                self._killing_until = now + _KILL_WAIT_S
            self._changed.wait_for(lambda: handle not in self._watched, max(0.0, self._killing_until - now))

    def held_bytes(self, handle: WorkerHandle) -> int:
        """Return 0: its memory is another machine's."""
        return 0

    def _watch(self, handle: WorkerHandle, watched: _Watched) -> _Watched:
        """Wait for a worker's end from now on, unless somebody does; return what is known of it."""
        with self._changed:
            self._wake_watcher()
            return self._watched.setdefault(handle, watched)

    def _forget(self, handle: WorkerHandle, looks: int = _FORGET_LOOKS) -> None:
        """Remove the job of a worker that has ended from Ray's list, after so many looks."""
        with self._changed:
            self._wake_watcher()
            self._forgotten_at.setdefault(handle, time.monotonic() + looks * self._look_s)

    def _wake_watcher(self) -> None:
        """Start the thread that looks on, unless it runs. Needs the lock."""
        if self._watcher is None:
            watcher = threading.Thread(target=self._look_on, name="ray-watcher", daemon=True)
            watcher.start()
            self._watcher = watcher

    def _look_on(self) -> None:
        pause, is_away = threading.Event(), False
        while True:
            with self._changed:
                watched = dict(self._watched)
                if not watched and not self._forgotten_at:
                    self._watcher = None
                    return
            began = time.monotonic()
            try:
                self._look(watched)
                is_away = False
            except EngineAway as exc:
                if not is_away:
                    log.warning("Workers count as alive until their leases end. %s", exc)
                is_away = True
                for one in watched.values():
                    one.is_waiting = False
            except Exception:  # the others are looked after all the same
                log.exception("Looking at the workers on Ray failed")
            pause.wait(max(self._look_s, _BUSY_SHARE * (time.monotonic() - began)))

    def _look(self, watched: dict[WorkerHandle, _Watched]) -> None:
        """Ask about workers that were watched before, so that their jobs have to be there."""
        self._remove_forgotten()
        found = self._jobs.all() if watched else {}
        has_groups = any(one.devices > 1 and not one.was_placed for one in watched.values())
        placed = self._jobs.placed() if has_groups else set()
        for handle, one in watched.items():
            job = found.get(_id(handle)) or self._jobs.find(_id(handle))
            if job is None or job.has_ended:
                self._settle(handle, job)
                with self._changed:
                    self._watched.pop(handle, None)
                    self._changed.notify_all()
                if one.on_exit is not None:
                    one.on_exit(_exit_code(job, one))
            else:
                one.was_placed = one.was_placed or job.id in placed
                one.is_waiting = job.status == PENDING or (one.devices > 1 and not one.was_placed)
                if one.is_waiting and one.devices > 1:
                    self._tell_of_room(handle, one)

    def _tell_of_room(self, handle: WorkerHandle, waiting: _Watched) -> None:
        """Say that a worker may wait for ever, at its first look and then each minute or so."""
        waiting.looks += 1
        if waiting.looks % _TELL_LOOKS != 1:
            return
        wanted = self._reservation
        room = self._jobs.room(wanted.cpus, wanted.gpus)
        if room < waiting.devices:
            log.warning(
                "Worker %s waits: it needs %d devices of %g CPUs and %g GPUs, and the nodes of the cluster have %d",
                *(handle, waiting.devices, wanted.cpus, wanted.gpus, room),
            )

    def _remove_forgotten(self) -> None:
        with self._changed:
            due = [handle for handle, at in self._forgotten_at.items() if at <= time.monotonic()]
        for handle in due:
            try:
                self._jobs.delete(_id(handle))
            except EngineAway:  # no reason not to look at the others
                with self._changed:
                    self._forgotten_at[handle] += _FORGET_LOST_LOOKS * self._look_s
                return
            with self._changed:
                del self._forgotten_at[handle]

    def _settle(self, handle: WorkerHandle, job: RayJob | None) -> None:
        """Keep the output of a worker that has ended, and have Ray forget it."""
        if job is None:
            return
        try:
            text, looks = self._jobs.log(job.id), _FORGET_LOOKS
        except EngineAway:  # its node is gone; Ray's head has the last lines
            text, looks = "", _FORGET_LOST_LOOKS
        text = (text or job.message).rstrip("\n") + "\n"
        try:
            with Path(job.metadata[_LOG]).open("ab") as output:
                output.write(text.encode(errors="replace")[-_LOG_BYTES:])
        except (OSError, KeyError) as exc:
            log.warning("The output of worker %s is not kept: %s: %s", handle, type(exc).__name__, exc)
        self._forget(handle, looks)


def _id(handle: WorkerHandle) -> str:
    return handle.text.removeprefix(_PREFIX)


def _exit_code(job: RayJob | None, watched: _Watched) -> int | None:
    """Return how a worker ended, as a process's exit code; Ray does not tell that of one that it was asked to stop."""
    if job is None:
        return None
    if job.status == STOPPED:
        return -signal.SIGKILL if watched.killed else TERMINATED_EXIT_CODE
    if job.status == SUCCEEDED:
        return 0
    return NOT_STARTED_EXIT_CODE if job.error_type in _NO_NODE and not job.has_begun else job.exit_code
