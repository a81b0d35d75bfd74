"""Jobs on servers that share a database and are killed again and again: ``python bench/servers.py --seed 7``.

Two backends share a PostgreSQL server and a storage, all of them real. Training is scripted
(``tests/support/scripted_worker.py``). Again and again SIGKILL ends a backend, a worker or both, a backend is asked to
stop, and all connections to the database are cut. Clients ask whichever backend answers. At the end every job must have
completed, with each of its events once and in order, read from both backends. The exit code is 1 if not.

It needs the extras ``local`` and ``postgresql``, PostgreSQL's programs and, for 200 jobs, about five minutes.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import click
import psutil
import requests
from backend_process import free_port

os.environ["ARKOR_TEST_DATABASE"] = "postgresql"
from tests.support.backend import BackendProcess, Client
from tests.support.databases import server
from tests.support.processes import processes_of
from tests.support.tiny_model import write_tiny_model

STEPS, SAVE_STEPS = 20, 2
CLIENTS = 16
PAUSE_S = (0.1, 1.0)  # between two kills
DOWN_S = (0.0, 0.0, 1.0, 6.0)  # until a backend is started again; in the last one the other takes its workers over
OPTIONS = {
    "max-parallel": 8,
    "lease": 3.0,
    "first-lease": 30.0,
    "cancel-grace": 3.0,
    "stop-grace": 5.0,
    "max-attempts": 20,
}
CUT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'arkor'"


@attrs.define
class Killer:
    """Kills backends, workers and connections, and starts backends again, until it is told to stop.

    Attributes:
        counts: how often it did what.
    """

    backends: list[BackendProcess]
    rng: random.Random
    counts: collections.Counter[str] = attrs.field(factory=collections.Counter)

    def run(self, done: threading.Event) -> None:
        """Kill until the event is set; every backend is there when this returns."""
        while not done.wait(self.rng.uniform(*PAUSE_S)):
            backend = self.rng.choice(self.backends)
            deed = self.rng.choice([self._worker, self._worker, self._backend, self._both, self._stop, self._cut])
            self.counts[deed.__name__.strip("_")] += 1
            deed(backend)
            if backend.process is not None and backend.process.poll() is not None:
                done.wait(self.rng.choice(DOWN_S))
                backend.start()

    def _worker(self, backend: BackendProcess) -> None:
        workers = [process for process in processes_of(backend.data) if _is_worker(process)]
        if workers:
            _end(self.rng.choice(workers))

    def _backend(self, backend: BackendProcess) -> None:
        backend.kill()

    def _both(self, backend: BackendProcess) -> None:
        backend.kill()
        for process in processes_of(backend.data):
            _end(process)

    def _stop(self, backend: BackendProcess) -> None:
        backend.stop()

    def _cut(self, _: BackendProcess) -> None:
        server().sql(CUT)


def _is_worker(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        return process.cmdline()[-1].endswith("spec.json")
    return False


def _end(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


@attrs.frozen
class Caller:
    """Somebody who asks whichever backend answers."""

    clients: list[Client]
    rng: random.Random

    def ask(self, ask: Callable[[Client], requests.Response]) -> requests.Response:
        """Ask until there is an answer that is none of a backend's or a database's end."""
        pause, until = threading.Event(), time.monotonic() + 120
        while True:
            try:
                answer = ask(self.rng.choice(self.clients))
                if answer.status_code < 500:
                    return answer
            except requests.RequestException:
                pass
            if time.monotonic() > until:
                raise click.ClickException("No backend has answered for two minutes.")
            pause.wait(0.2)

    def run(self, number: int, config: dict[str, Any]) -> str:
        """Submit a job, wait for its end, and return its id."""
        key = {"Idempotency-Key": f"job-{number}"}
        made = self.ask(lambda client: client.submit(f"slow:{STEPS}", config, headers=key))
        job_id = str(made.json()["job"]["id"])
        pause = threading.Event()
        while self.ask(lambda client: client.get(f"/v1/jobs/{job_id}")).json()["job"].get("completedAt") is None:
            pause.wait(0.3)
        return job_id


def faults_of(job: dict[str, Any], told: list[list[Any]]) -> Iterator[str]:
    """Yield what is wrong with a job and its events, as each backend has them."""
    if job["status"] != "completed":
        yield f"it is {job['status']}: {job.get('error')}"
    if told[0] != told[1]:
        yield "the backends have other events"
    ids = [event_id for event_id, _, _ in told[0]]
    if ids != list(range(1, len(ids) + 1)):
        yield f"its ids are {ids}"
    found: dict[str, list[int | None]] = collections.defaultdict(list)
    for _, kind, step in told[0]:
        found[kind].append(step)
    wanted = {
        "training.started": [None],
        "training.log": list(range(1, STEPS + 1)),
        "checkpoint.saved": list(range(SAVE_STEPS, STEPS + 1, SAVE_STEPS)),
        "training.completed": [None],
    }
    yield from (f"its {kind} are {found[kind]}" for kind, steps in wanted.items() if found[kind] != steps)


def events_of(client: Client, job_id: str) -> list[Any]:
    """Return the events of a job that has ended, as a backend streams them."""
    return [(frame.id, frame.event, frame.data.get("step")) for frame in client.events(job_id)]


def measure(folder: Path, jobs: int, rng: random.Random) -> list[str]:
    """Run the jobs, print the figures, and return the faults."""
    options: dict[str, Any] = {**OPTIONS, "storage": folder / "storage"}
    first = BackendProcess(folder / "first", port=free_port(), **options).start()
    backends = [first, BackendProcess(folder / "second", beside=first, port=free_port(), **options).start()]
    clients = [backends[0].client()]
    clients.append(backends[1].client_as(clients[0]))
    config = {
        "model": str(write_tiny_model(folder / "model")),
        "datasetSource": {"type": "huggingface", "name": "owner/rows"},
        "saveSteps": SAVE_STEPS,
    }
    killer, done, began = Killer(backends, rng), threading.Event(), time.monotonic()
    killing = threading.Thread(target=killer.run, args=(done,))
    killing.start()
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            callers = [Caller(clients, random.Random(number)) for number in range(jobs)]
            ids = list(pool.map(lambda number: callers[number].run(number, config), range(jobs)))
    finally:
        done.set()
        killing.join()
    took_s = time.monotonic() - began
    faults, interrupted = [f"{len(set(ids))} jobs for {jobs} orders"] if len(set(ids)) != jobs else [], 0
    for job_id in ids:
        told = [events_of(client, job_id) for client in clients]
        interrupted += sum(kind == "training.interrupted" for _, kind, _ in told[0])
        faults += [f"{job_id}: {fault}" for fault in faults_of(clients[0].job(job_id), told)]
    deeds = ", ".join(f"{name} {count}" for name, count in sorted(killer.counts.items()))
    click.echo(f"{jobs} jobs of {STEPS} steps in {took_s:.0f} s; {deeds}; {interrupted} interruptions told")
    for backend in backends:
        backend.stop()
        faults += [f"process {process.pid} is left" for process in processes_of(backend.data)]
        faults += [f"{backend.folder.name} has a traceback in its log"] if "Traceback" in backend.log else []
    return faults


@click.command(help=__doc__)
@click.option("--jobs", default=200, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=None, type=int, help="Of what is killed, and when.")
def main(jobs: int, seed: int | None) -> None:
    """Run the jobs."""
    seed = random.randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="arkor-servers-"))
    click.echo(f"seed {seed}")
    try:
        faults = measure(folder, jobs, random.Random(seed))
    finally:
        for process in processes_of(folder):
            _end(process)
    if faults:
        raise click.ClickException("\n".join([*faults, f"The files are in {folder}."]))
    shutil.rmtree(folder)
    click.echo("Every job completed, with each event once, on both servers; nothing is left.")


if __name__ == "__main__":
    main()
