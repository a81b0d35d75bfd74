"""Jobs on a backend that is killed again and again: ``python bench/kills.py --seed 7``.

Backend, trainers and callbacks are the real ones. Training is scripted (``tests/support/scripted_worker.py``), so that
200 jobs take minutes. SIGKILL ends a worker, the backend, or both, at random moments; at others the backend is asked to
stop. It is started again each time, sometimes only after its workers gave up.

At the end every job must have a verdict, for a reason that fits, and each of its events must have been told, stored and
told again exactly once. No process, no secret and no temporary file may be left. What is off is printed with the seed,
the files are kept, and the exit code is 1. The seed fixes what is done, not what it hits.

It needs the ``local`` extra and, for 200 jobs, two to five minutes.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import attrs
import click
import psutil
from backend_process import BackendProcess
from quick_worker import GIVE_UP_S
from verdicts import CALLBACKS, Ending, Order, Record, Told, faults_of, files_left

from arkor import Callbacks, CloudApiClient, ReconnectPolicy, Trainer
from arkor.client.project import ensure_project
from arkor.errors import Aborted, ArkorError
from arkor.protocol.jobs import Scope, TrainingJob
from tests.support.processes import processes_of
from tests.support.tiny_model import write_tiny_model

POLICY = ReconnectPolicy(base_delay=0.1, max_delay=0.5, idle_timeout=10.0)
# Patiences that suit workers of a second, on a busy machine.
OPTIONS = {
    "worker": "quick_worker",
    "max-parallel": 4,
    "ping": 1,
    "lease": 4,
    "first-lease": 30,
    "cancel-grace": 3,
    "stop-grace": 5,
}
CLIENTS = 8
PAUSES_S = (0.0, 0.0, 0.5, GIVE_UP_S + 2.0)  # in the last one, workers give up


@attrs.define
class Killer:
    """Kills the backend and its workers, and starts it again, until it is told to stop.

    Attributes:
        counts: how often it did what.
        moments: when it did, in seconds since 1970.
        of_job: how often it killed a job's worker.
    """

    backend: BackendProcess
    rng: random.Random
    counts: collections.Counter[str] = attrs.field(factory=collections.Counter)
    moments: list[float] = attrs.field(factory=list)
    of_job: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def run(self, done: threading.Event) -> None:
        """Kill until the event is set; the backend is there when this returns."""
        while not done.wait(self.rng.uniform(0.1, 2.0)):
            deed = self.rng.choice([self._kill_worker, self._kill_backend, self._kill_both, self._stop_backend])
            pause_s, is_early = self.rng.choice(PAUSES_S), self.rng.random() < 0.2
            deed()
            if deed == self._kill_worker:
                continue
            done.wait(pause_s)
            if is_early:
                self.backend.launch()
                done.wait(self.rng.uniform(0.0, 1.5))
                self._kill_backend("backend as it starts")
            self.backend.start()

    def _kill_worker(self) -> None:
        workers = list(self.backend.workers().items())
        self._kill_all(dict([self.rng.choice(workers)] if workers else []))
        self._note("worker", len(workers[:1]))

    def _kill_backend(self, what: str = "backend") -> None:
        self._note(what)
        self.backend.kill()

    def _kill_both(self) -> None:
        workers = self.backend.workers()
        self._kill_backend("backend and workers")
        self._kill_all(workers)

    def _stop_backend(self) -> None:
        self._note("backend, asked to stop")
        self.backend.stop()

    def _kill_all(self, workers: dict[str, psutil.Process]) -> None:
        for job_id, process in workers.items():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
                self.of_job[job_id] += 1

    def _note(self, what: str, times: int = 1) -> None:
        self.moments += [time.time()] * times
        self.counts[what] += times

    def kills_during(self, job: TrainingJob) -> int:
        """Return how often it killed anything while a job was under way."""
        began, ended = (
            datetime.fromisoformat(at or job.created_at).timestamp() for at in (job.started_at, job.completed_at)
        )
        return sum(began - 1 <= moment <= ended for moment in self.moments)


class Clients:
    """Threads that submit jobs and wait for them, one after another each.

    Args:
        orders: the jobs.
        backend: where.
    """

    def __init__(self, orders: Sequence[Order], backend: BackendProcess) -> None:
        self.records = [Record(order) for order in orders]
        self.done = threading.Event()
        self.abort = threading.Event()
        self._backend = backend
        self._waiting = collections.deque(self.records)
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    @contextlib.contextmanager
    def working(self, timeout_s: float) -> Iterator[None]:
        """Let the threads work during the block, until ``done`` is set; after so many seconds they give up."""
        watch = threading.Timer(timeout_s, self.abort.set)
        for thread in [watch, *self._threads, threading.Thread(target=self._note_the_end)]:
            thread.start()
        try:
            yield
        finally:
            watch.cancel()
            self.abort.set()
            self.done.wait()

    def streamed(self, job: TrainingJob) -> list[Told]:
        """Return the events of a job that has ended, as who attaches to it has them."""
        url, project = self._backend.url, self._backend.folder / "project"
        return [
            (event.id, event.to_wire()) for event in Trainer.attach(job.id, backend=url, project_dir=project).events()
        ]

    def _note_the_end(self) -> None:
        for thread in self._threads:
            thread.join()
        self.done.set()

    def _run(self) -> None:
        while not self.abort.is_set():
            try:
                record = self._waiting.popleft()
            except IndexError:
                return
            self._follow(record)

    def _follow(self, record: Record) -> None:
        """Submit a job, again and again while the backend is away, and wait for it."""
        trainer = self._trainer(record)
        while True:
            try:
                trainer.wait(on_event=lambda event: record.told.append((event.id, event.to_wire())))
            except Aborted:
                record.error = "nothing: it went on"
            except ArkorError as exc:
                if trainer.job is None and not self.abort.wait(0.2):
                    continue
                record.error = repr(exc)
            record.job_id = trainer.job.id if trainer.job else ""
            return

    def _trainer(self, record: Record) -> Trainer:
        def note(name: str) -> Any:
            def called(context: Any) -> None:
                record.called.append((name, getattr(context, "step", None)))
                if name == "log" and context.step == record.order.cancel_at and not record.is_cancelled:
                    with contextlib.suppress(ArkorError):  # the backend is away: the job goes on
                        trainer.cancel()
                        record.is_cancelled = True

            return called

        order, folder = record.order, self._backend.folder
        trainer = Trainer(
            name=order.name,
            model=str(folder / "model"),
            dataset=order.dataset(folder / "project"),
            callbacks=Callbacks(**{f"on_{name}": note(name) for name in CALLBACKS.values()}),
            save_steps=order.save_steps,
            eval_steps=order.eval_steps,
            dataset_split={"eval_fraction": 0.1},
            abort_event=self.abort,
            reconnect=POLICY,
            backend=self._backend.url,
            project_dir=folder / "project",
        )
        return trainer


@attrs.frozen
class Run:
    """What happened in a run.

    Attributes:
        records, endings: the jobs, in one order.
        killer: what was killed.
        seconds: how long it took.
        faults: what is off.
    """

    records: list[Record]
    endings: list[Ending]
    killer: Killer
    seconds: float
    faults: list[str]

    def table(self) -> Iterator[tuple[str, str]]:
        """Yield the lines that are printed."""
        jobs = [ending.job for ending in self.endings]
        yield "jobs", f"{len(self.records)}, {CLIENTS} at a time, {OPTIONS['max-parallel']} of them train"
        yield "duration", f"{self.seconds:.0f} s"
        yield "killed", _counted(self.killer.counts)
        workers, hit = self.killer.of_job.total(), len(self.killer.of_job)
        yield "workers killed", f"{workers}, of {hit} jobs"
        yield "status", _counted(collections.Counter(job.status for job in jobs))
        reasons = collections.Counter((job.error or "").splitlines()[0] for job in jobs if job.error)
        yield from (("  failed", f"{count}: {reason}") for reason, count in reasons.most_common())
        yield "events told = stored = streamed", f"{sum(len(ending.stored) for ending in self.endings):,}"
        yield "faults", str(len(self.faults))


def _counted(counts: collections.Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items())) or "nothing"


def run(folder: Path, seed: int, jobs: int) -> Run:
    """Run so many jobs in a folder, and judge them."""
    began, rng = time.monotonic(), random.Random(seed)
    for name in ("home", "project"):
        (folder / name).mkdir()
    write_tiny_model(folder / "model")
    os.environ["HOME"] = str(folder / "home")
    backend = BackendProcess(folder, OPTIONS)
    backend.start()
    client = CloudApiClient.connect(backend.url)
    scope = ensure_project(client, folder / "project")
    clients = Clients([Order.drawn(rng) for _ in range(jobs)], backend)
    killer = Killer(backend, rng)
    with clients.working(120.0 + 10.0 * jobs):
        killer.run(clients.done)
    faults, endings = judged(clients, killer, client, scope)
    client.close()
    backend.secrets[client.identity.token] = "the token of the identity"
    return Run(clients.records, endings, killer, time.monotonic() - began, [*faults, *left_by(backend, clients)])


def judged(clients: Clients, killer: Killer, client: CloudApiClient, scope: Scope) -> tuple[list[str], list[Ending]]:
    """Return what is off with the jobs, and how each ended."""
    listed = {job.id: job for job in client.list_jobs(scope)}
    known = {record.job_id for record in clients.records}
    faults = [f"{job_id} is a job that no trainer knows" for job_id in listed if job_id not in known]
    endings = []
    for record in clients.records:
        job = listed.get(record.job_id)
        if job is None:
            faults.append(f"{record.order} was lost: {record.error}")
            continue
        stored = stored_events(client, scope, job)
        streamed = clients.streamed(job) if job.is_terminal else []
        ending = Ending(job, stored, streamed, killer.kills_during(job))
        faults += [f"{job.id} ({record.order}): {fault}" for fault in faults_of(record, ending)]
        endings.append(ending)
    return faults, endings


def stored_events(client: CloudApiClient, scope: Scope, job: TrainingJob) -> list[Told]:
    """Return all events of a job that the backend has."""
    stored: list[Told] = []
    more = True
    while more:
        page, more = client.stored_events(scope, job.id, after=stored[-1][0] if stored else None)
        stored += page
    return stored


def left_by(backend: BackendProcess, clients: Clients) -> Iterator[str]:
    """Stop the backend, and yield what is off with what it leaves."""
    backend.stop()
    for process in processes_of(backend.folder):
        yield f"process {process.pid} is left"
    blobs = [record.order.secret for record in clients.records if record.order.source == "blob"]
    yield from files_left(backend.folder, {**backend.secrets, **dict.fromkeys(blobs, "the token of a blob")})
    if "Traceback" in backend.log.read_text():
        yield "the backend's log has a traceback"


@click.command()
@click.option("--seed", type=int, help="What is drawn; a random one where it is not given.")
@click.option("--jobs", default=200, show_default=True, type=click.IntRange(min=1), help="How many jobs.")
def main(seed: int | None, jobs: int) -> None:
    """Run jobs on a backend that is killed again and again."""
    seed = random.randrange(1_000_000) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="arkor-kills-"))
    print(f"seed {seed}")
    try:
        done = run(folder, seed, jobs)
    finally:
        for process in processes_of(folder):
            process.kill()
    width = max(len(name) for name, _ in done.table())
    for name, value in done.table():
        print(f"{name:<{width}}  {value}")
    for fault in done.faults:
        print(f"seed {seed}: {fault}")
    if done.faults:
        print(f"seed {seed}: the files are in {folder}")
        sys.exit(1)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
