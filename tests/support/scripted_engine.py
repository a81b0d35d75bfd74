"""The scheduler with an engine that starts nothing, a real store, and a time that the test sets."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.job_folder import spec_path
from arkor.backend.jobs.membership import Membership
from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.processes.engine import Launch, WorkerHandle
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.feed import Feed
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.reports import WorkerEvent
from arkor.backend.store.servers import Server
from arkor.backend.store.tenants import Project

CONFIG = {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}}


class ScriptedEngine:
    """Starts nothing; the test ends a worker by calling what it was handed."""

    spans_machines = False

    def __init__(self) -> None:
        self.launches: list[Launch] = []
        self.exits: list[Callable[[int | None], None]] = []
        self.killed: list[WorkerHandle] = []
        self.terminated: list[WorkerHandle] = []
        self.error: OSError | None = None
        self.found: list[tuple[Path, WorkerHandle]] = []
        self.is_deaf = self.forgets = False
        self.waiting: set[WorkerHandle] = set()

    def start(self, launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        if self.error is not None:
            raise self.error
        self.launches.append(launch)
        self.exits.append(on_exit)
        return WorkerHandle(str(len(self.exits)))

    def find(self, folder: Path) -> list[tuple[Path, WorkerHandle]]:
        return [(spec, handle) for spec, handle in self.found if handle not in self.killed]

    def is_alive(self, handle: WorkerHandle) -> bool:
        return handle not in self.killed and not self.forgets

    def is_waiting(self, handle: WorkerHandle) -> bool:
        return handle in self.waiting

    def terminate(self, handle: WorkerHandle) -> None:
        self.terminated.append(handle)
        if self.is_deaf:
            return
        if int(handle.text) <= len(self.exits):
            self.exits[int(handle.text) - 1](4)
        else:  # an earlier backend's
            self.killed.append(handle)

    def kill(self, handle: WorkerHandle) -> None:
        self.killed.append(handle)

    def held_bytes(self, handle: WorkerHandle) -> int:
        return 0


@attrs.define
class Clock:
    """A time that passes only when the test says so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@attrs.frozen
class House:
    """A store with a project in it, an engine, and settings."""

    store: Store
    project: Project
    engine: ScriptedEngine
    settings: Settings
    server: Server | None = None
    feed: Feed = attrs.field(factory=Feed)
    devices: Devices = attrs.field(factory=Devices)

    def submit(self, name: str = "job", **settings: Any) -> str:
        config = {**CONFIG, **settings}
        return self.store.jobs.create(self.project, NewJob(name=name, config=config), config)[0].id

    def report(self, job_id: str, *events: tuple[str, int]) -> None:
        """Have the job's running attempt tell events: their types and steps."""
        spec = self.spec(job_id)
        told = [
            WorkerEvent(seq, kind, {"step": step, "loss": 1.0} if kind == "training.log" else {})
            for seq, (kind, step) in enumerate(events, 1)
        ]
        self.store.reports.receive(job_id, spec["attempt"], spec["token"], told)

    def paused_at(self, clock: Callable[[], float]) -> Scheduler:
        """Return a scheduler without its thread: the test takes the turns, and the time is the test's."""
        return self._scheduler(clock)

    def scheduler(self) -> Scheduler:
        scheduler = self._scheduler(time.monotonic)
        scheduler.start()
        return scheduler

    def _scheduler(self, clock: Callable[[], float]) -> Scheduler:
        return Scheduler(
            self.store.queue,
            Membership(self.store, self.server, self.settings.lease_s, clock),
            self.engine,
            self.settings,
            "http://127.0.0.1:1",
            devices=self.devices,
            monotonic=clock,
        )

    def status(self, job_id: str) -> str:
        job = self.store.jobs.get(self.project, job_id)
        assert job is not None
        return job.status

    def spec(self, job_id: str) -> dict[str, Any]:
        """Return what the job's worker was told last."""
        return dict(json.loads(spec_path(self.settings, job_id).read_bytes()))

    def events(self, job_id: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.store.events.after(job_id, 0)[0]]

    def last_event(self, job_id: str) -> str:
        return self.store.events.after(job_id, 0)[0][-1].data
