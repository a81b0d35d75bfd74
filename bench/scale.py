"""A week of a large installation on a simulated clock: ``python bench/scale.py``.

10,000 users share 1,000 GPUs of 125 servers on one PostgreSQL database. The schedulers, the queue and the database are
the real ones; the time is simulated, nothing is trained, and workers are stood in for. It prints how long jobs wait,
how evenly users are served, and how many statements the database gets. It needs the ``local`` and ``postgresql``
extras, PostgreSQL's programs and about five minutes. ``--share 0.05`` simulates a twentieth of the users and the GPUs.
"""

from __future__ import annotations

import collections
import heapq
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
from sqlalchemy import Engine as DatabaseEngine, event

from arkor.backend.jobs.devices import Devices
from arkor.backend.jobs.job_folder import spec_path
from arkor.backend.jobs.membership import Membership
from arkor.backend.jobs.scheduler import Scheduler
from arkor.backend.processes.engine import Launch, WorkerHandle
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.database import Database
from arkor.backend.store.feed import Feed
from arkor.backend.store.jobs import NewJob
from arkor.backend.store.opening import open_database
from arkor.backend.store.reports import WorkerEvent
from arkor.backend.store.servers import Server
from arkor.backend.store.tenants import Project

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the PostgreSQL server of the tests
from tests.support.databases import server

HOUR_S = 3600.0
WEEK_S = 7 * 24 * HOUR_S
USERS, SERVERS, GPUS_OF_SERVER = 10_000, 125, 8
JOBS_OF_USER = 1.5  # a week, on average, of those who try one thing after another
SWEEPS, JOBS_OF_SWEEP = 1 / 500, 100  # users who submit a whole grid at once, and how many jobs it has
SIZES = ((1, 0.85), (2, 0.08), (4, 0.05), (8, 0.02))  # devices of a job, and how often
LOAD = 0.8  # of all devices over the week
SPREAD = 1.0  # of the durations' logarithm
LOST = 0.02  # of all attempts, at a random moment
LOST_S = 120.0  # what a lost attempt has to compute again
LOGS = 2  # of an attempt: enough to count what one costs
REPORT_EVERY_S = 1.0
BY_HOUR = (*[0.2] * 6, 0.4, 0.6, 1.2, 1.8, 2.0, 2.0, 1.6, 2.0, 2.0, 1.8, 1.6, 1.2, *[0.8] * 3, 0.6, 0.4, 0.4)
BEAT = "a report without an event"
BY_DAY = (*[1.0] * 5, 0.3, 0.3)


@attrs.define
class Clock:
    """The simulated time, in seconds."""

    now: float = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


class Statements:
    """Counts what the database is asked, by what for."""

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()
        self.times: collections.Counter[str] = collections.Counter()
        self.what = "other"
        event.listen(DatabaseEngine, "before_cursor_execute", self._note)

    def _note(self, *_: object) -> None:
        self.counts[self.what] += 1

    def of(self, what: str, do: Callable[[], Any]) -> Any:
        """Do something, and count its statements under a name."""
        before, self.what = self.what, what
        self.times[what] += 1
        try:
            return do()
        finally:
            self.what = before


@attrs.define
class Job:
    """A job of the simulation.

    Attributes:
        user: its number.
        submitted: when, in simulated seconds.
        left_s: how long it still trains.
        devices: how many it needs.
        of_sweep: whether it is one of a grid.
        began, ended: simulated seconds; 0 for what has not happened.
    """

    user: int
    submitted: float
    left_s: float
    devices: int = 1
    of_sweep: bool = False
    began: float = 0.0
    ended: float = 0.0

    @property
    def waited_s(self) -> float:
        """How long it waited until it began."""
        return self.began - self.submitted


class Cluster:
    """An engine whose workers end when the simulation says so."""

    spans_machines = False

    def __init__(self, started: Callable[[str, Callable[[int | None], None]], None]) -> None:
        self._started = started

    def start(self, launch: Launch, on_exit: Callable[[int | None], None]) -> WorkerHandle:
        """Begin a worker that ends when the simulation says so."""
        self._started(launch.name.rpartition("-")[0], on_exit)
        return WorkerHandle(launch.name)

    def find(self, folder: Path) -> list[tuple[Path, WorkerHandle]]:
        """Return none."""
        return []

    def is_alive(self, handle: WorkerHandle) -> bool:
        """Return True."""
        return True

    def is_waiting(self, handle: WorkerHandle) -> bool:
        """Return False."""
        return False

    def terminate(self, handle: WorkerHandle) -> None:
        """Do nothing."""
        return

    def kill(self, handle: WorkerHandle) -> None:
        """Do nothing."""
        return

    def held_bytes(self, handle: WorkerHandle) -> int:
        """Return 0."""
        return 0


@attrs.frozen
class Node:
    """A server with its GPUs."""

    store: Store
    scheduler: Scheduler
    settings: Settings


@attrs.frozen
class Run:
    """An attempt: where, what its worker was told, whom to tell its end, how long it runs, and whether it is lost."""

    node: Node
    spec: dict[str, Any]
    on_exit: Callable[[int | None], None]
    runs_s: float
    is_lost: bool


class Week:
    """The simulation.

    Args:
        folder: gets the jobs' folders.
        database: shared by all servers.
        share: of the users and of the servers.
        rng: draws what happens.
    """

    def __init__(self, folder: Path, database: Database, share: float, rng: random.Random) -> None:
        self.clock = Clock()
        self.statements = Statements()
        self.jobs: dict[str, Job] = {}
        self._queued: set[str] = set()
        self.busy_s = 0.0
        self.gpus = 0
        self._rng = rng
        self._order = itertools.count()
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._nodes = [self._node(folder / f"{number}", database) for number in range(max(1, round(SERVERS * share)))]
        self.users = round(USERS * share)
        self._projects: dict[int, Project] = {}
        self._planned: list[Job] = []
        self._plan()

    def _node(self, folder: Path, database: Database) -> Node:
        (folder / "jobs").mkdir(parents=True)
        this = Server(id=folder.name, url=f"http://{folder.name}", machine=folder.name)
        store = Store(database, folder, this.id)
        store.servers.renew(this, 10 * WEEK_S)  # its lease is of the database's time, which is not simulated
        settings = Settings(data=folder)
        gpus = tuple(f"{number}" for number in range(GPUS_OF_SERVER))
        self.gpus += len(gpus)
        node: list[Node] = []
        scheduler = Scheduler(
            store.queue,
            Membership(store, None, settings.lease_s, self.clock),
            Cluster(lambda job_id, on_exit: self._started(node[0], job_id, on_exit)),
            settings,
            "http://127.0.0.1:1",
            devices=Devices(gpus=gpus),
            monotonic=self.clock,
        )
        node.append(Node(store, scheduler, settings))
        return node[0]

    def _plan(self) -> None:
        """Draw who submits what, and when; the durations make up the load."""
        for user in range(self.users):
            for _ in range(_poisson(self._rng, JOBS_OF_USER)):
                size = self._rng.choices([size for size, _ in SIZES], [often for _, often in SIZES])[0]
                self._planned.append(Job(user, self._moment(), self._rng.lognormvariate(0, SPREAD), size))
        for user in self._rng.sample(range(self.users), max(1, round(self.users * SWEEPS))):
            at = self._moment()
            for _ in range(JOBS_OF_SWEEP):
                self._planned.append(Job(user, at, self._rng.lognormvariate(0, SPREAD), of_sweep=True))
        scale = LOAD * self.gpus * WEEK_S / sum(job.left_s * job.devices for job in self._planned)
        for job in self._planned:
            job.left_s = max(60.0, job.left_s * scale)
            self._at(job.submitted, partial(self._submit, job))

    def _moment(self) -> float:
        day = self._rng.choices(range(7), BY_DAY)[0]
        hour = self._rng.choices(range(24), BY_HOUR)[0]
        return (24 * day + hour + self._rng.random()) * HOUR_S

    def _at(self, moment: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._due, (moment, next(self._order), do))

    def run(self) -> Iterator[float]:
        """Let the week pass, and what is under way then end; yield the simulated time now and then."""
        while self._due:
            self.clock.now, _, do = heapq.heappop(self._due)
            do()
            yield self.clock.now

    def _submit(self, job: Job) -> None:
        store = self._rng.choice(self._nodes).store
        project = self._projects.get(job.user)
        if project is None:
            _, identity = self.statements.of("first request of a user", lambda: store.tenants.create_anonymous("cli"))
            project = store.tenants.create_project(identity.org, "p", "P")
            assert project is not None
            self._projects[job.user] = project
        config = {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}, "devices": job.devices}
        new = NewJob(name="job", config=config)
        made, _ = self.statements.of("submission", lambda: store.jobs.create(project, new, config))
        self.jobs[made.id] = job
        self._queued.add(made.id)
        self._tell_of_queued(made.id)

    def _tell_of_queued(self, job_id: str) -> None:
        """Let servers hear of a job in the queue, until one of them has begun it."""
        for node in self._rng.sample(self._nodes, len(self._nodes)):
            if job_id not in self._queued:
                return
            self._hear(node, job_id, queued=True)

    def _tell_of_begun(self, beginner: Node, job_id: str) -> None:
        """Let the other servers hear that a job has begun."""
        for node in self._nodes:
            if node is not beginner:
                self._hear(node, job_id, queued=False)

    def _hear(self, node: Node, job_id: str, *, queued: bool) -> None:
        """Let a server hear of a job, and look at the queue if that concerns it."""
        if node.scheduler.others_stored([job_id], queued):
            self.statements.of("a look at the queue", node.scheduler.turn)

    def _started(self, node: Node, job_id: str, on_exit: Callable[[int | None], None]) -> None:
        job = self.jobs[job_id]
        job.began = job.began or self.clock.now
        self._queued.discard(job_id)
        if job.devices > 1:  # another server may have kept devices free for it
            self._at(self.clock.now, partial(self._tell_of_begun, node, job_id))
        spec = json.loads(spec_path(node.settings, job_id).read_bytes())
        is_lost = self._rng.random() < LOST
        runs_s = job.left_s * self._rng.random() if is_lost else job.left_s
        self.busy_s += runs_s * job.devices
        run = Run(node, spec, on_exit, runs_s, is_lost)
        self._at(self.clock.now + runs_s, partial(self._end, run))

    def _end(self, run: Run) -> None:
        job = self.jobs[run.spec["jobId"]]
        job.left_s = LOST_S + job.left_s - run.runs_s if run.is_lost else 0.0
        first = run.spec["attempt"] * 1000
        told = [WorkerEvent(1, "training.started", {})]
        told += [WorkerEvent(2 + n, "training.log", {"step": first + n, "loss": 1.0}) for n in range(LOGS)]
        told += [] if run.is_lost else [WorkerEvent(2 + LOGS, "training.completed", {})]
        for one in told:
            self.statements.of("a report with an event", partial(self._report, run, one))
        if not run.is_lost:
            self.statements.of(BEAT, partial(self._report, run))
            job.ended = self.clock.now
        else:
            self._queued.add(run.spec["jobId"])
        run.on_exit(-9 if run.is_lost else 0)
        self.statements.of("the end of an attempt, and the next one", run.node.scheduler.turn)
        self._tell_of_queued(run.spec["jobId"])  # if it was lost, and its server has not begun it again

    def _report(self, run: Run, *reported: WorkerEvent) -> None:
        spec = run.spec
        run.node.store.reports.receive(spec["jobId"], spec["attempt"], spec["token"], reported)


def _poisson(rng: random.Random, mean: float) -> int:
    """Draw a number of events."""
    count, left = 0, rng.expovariate(1.0)
    while left < mean:
        count += 1
        left += rng.expovariate(1.0)
    return count


def evenness(values: Sequence[float]) -> float:
    """Return Jain's index: 1 if all are the same, 1/n if one has it all."""
    total = sum(values)
    return total**2 / (len(values) * sum(value**2 for value in values)) if total else 1.0


def shown(seconds: float) -> str:
    """Return a duration as a person says it."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"


def waits(name: str, jobs: Sequence[Job]) -> None:
    """Print how long jobs waited."""
    found = sorted(job.waited_s for job in jobs)
    if found:
        p50, p95, p99 = (found[min(len(found) - 1, int(len(found) * share))] for share in (0.5, 0.95, 0.99))
        click.echo(f"{name:<34} {len(found):>7,}  p50 {shown(p50):>8}  p95 {shown(p95):>8}  p99 {shown(p99):>8}")


def report(week: Week, took_s: float) -> None:
    """Print what came of the week."""
    jobs = list(week.jobs.values())
    click.echo(f"{len(jobs):,} jobs of {week.users:,} users on {week.gpus:,} GPUs; simulated in {took_s:.0f} s")
    click.echo(
        f"all of them ended: {all(job.ended for job in jobs)}; mean duration "
        f"{shown(week.busy_s / sum(job.devices for job in jobs))} a device"
    )
    in_week = sum(min(job.ended, WEEK_S) - min(job.began, WEEK_S) for job in jobs for _ in range(job.devices))
    click.echo(f"GPUs in use during the week: {in_week / (week.gpus * WEEK_S):.0%}")
    waits("jobs that are no part of a sweep", [job for job in jobs if not job.of_sweep])
    waits("jobs of a sweep", [job for job in jobs if job.of_sweep])
    for size, _ in SIZES:
        waits(f"jobs with {size} devices", [job for job in jobs if job.devices == size])
    speeds = collections.defaultdict(list)
    for job in jobs:
        speeds[job.user].append((job.ended - job.began) / (job.ended - job.submitted))
    means = [statistics.mean(found) for found in speeds.values()]
    click.echo(f"evenness of the users' speeds (Jain's index): {evenness(means):.2f}")
    counts, times = week.statements.counts, week.statements.times
    for what, count in counts.most_common():
        each = count / (times[what] or 1)
        click.echo(f"{what:<42} {times[what]:>9,} times, {each:5.1f} statements each, {count / WEEK_S:8.3f} a second")
    beat = counts[BEAT] / max(1, times[BEAT])
    click.echo(f"{BEAT}, of {week.gpus:,} workers: {beat * week.gpus / REPORT_EVERY_S:,.0f} statements a second")


@click.command(help=__doc__)
@click.option("--share", default=1.0, show_default=True, help="Of the users and of the servers.")
@click.option("--seed", default=7, show_default=True)
def main(share: float, seed: int) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        database = open_database(server().create(f"scale{time.monotonic_ns()}"), Path(name), Feed())
        began = time.monotonic()
        week = Week(Path(name), database, share, random.Random(seed))
        with click.progressbar(length=int(WEEK_S), label="the week") as bar:
            for now in week.run():
                bar.update(max(0, int(min(now, WEEK_S)) - bar.pos))
        report(week, time.monotonic() - began)
        database.close()


if __name__ == "__main__":
    main()
