"""The self-hosted backend under load: ``python bench/backend.py``.

It measures how many events the backend stores, how soon 500 watchers of one job have an event, how long a long history
takes to replay, and how soon a backend with many jobs is ready. Workers are stood in for: processes of this script
report as workers do. It needs the ``local`` extra, two quiet cores and about a minute. ``--only`` runs one part.
``--database postgresql`` has a PostgreSQL server of its own; with ``--servers 2`` two backends share it, workers report
to both, and watchers watch at the other one.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import click
import requests
from sqlalchemy import Connection, insert

from arkor.backend.processes.process_start import process_start
from arkor.backend.store import schema
from arkor.backend.store.database import Database, digest
from arkor.backend.store.feed import Feed
from arkor.backend.store.opening import open_database

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the PostgreSQL server of the tests
from tests.support.databases import server

AT = "2026-01-31T09:30:09.125Z"
TOKEN, SLUG = "bench", "bench"
HEADERS = {"X-Arkor-Client": "arkor/0", "Authorization": f"Bearer {TOKEN}"}
PATIENCE_S = 60.0
BENCH = Path(__file__).parent
SQLITE, POSTGRESQL = "sqlite", "postgresql"
SENT = re.compile(rb'"sentAt":\s?([0-9.]+)')
SPAWN = multiprocessing.get_context("spawn")


@attrs.frozen
class Jobs:
    """The jobs in the data folder of a backend."""

    running: int = 0
    finished: int = 0
    queued: int = 0
    history: int = 0


@attrs.frozen
class Place:
    """On what the backends run.

    Attributes:
        database: SQLITE or POSTGRESQL.
        servers: how many share the database.
    """

    database: str
    servers: int


@contextlib.contextmanager
def backends(place: Place, jobs: Jobs) -> Iterator[tuple[list[str], float]]:
    """Run backends on a database made for them; give their addresses, and the seconds until the first was ready."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workers = stack.enter_context(_stand_ins(jobs.running))
        (folder / "0").mkdir()
        url = server().create(f"bench{time.monotonic_ns()}") if place.database == POSTGRESQL else None
        fill(open_database(url, folder / "0" / "backend.sqlite3", Feed()), jobs, workers)
        ready = [stack.enter_context(_backend(folder / str(number), url)) for number in range(place.servers)]
        yield [address for address, _ in ready], ready[0][1]


@contextlib.contextmanager
def _backend(data: Path, database: str | None) -> Iterator[tuple[str, float]]:
    """Run a backend; give its address, and the seconds until it was ready."""
    address, log = data.with_suffix(".json"), data.with_suffix(".log")
    command = [sys.executable, "-m", "arkor.backend", "--data", str(data), "--server-file", str(address)]
    command += ["--worker", "idle_worker", "--ping", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(BENCH), str(BENCH.parent)])}
    environment |= {} if database is None else {"ARKOR_DATABASE": database}
    began = time.monotonic()
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, env=environment) as process:
        try:
            yield _ready(process, address, log), time.monotonic() - began
        finally:
            process.terminate()


@contextlib.contextmanager
def _stand_ins(count: int) -> Iterator[list[int]]:
    """Run processes that the backend takes for the workers of running jobs, and give their ids."""
    processes = [subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(count)]
    try:
        yield [process.pid for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _ready(process: subprocess.Popen[bytes], address: Path, log: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not address.exists():
        if time.monotonic() > deadline or process.poll() is not None:
            raise click.ClickException(log.read_text())
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
    url = str(json.loads(address.read_text())["url"])
    requests.get(f"{url}/healthz", timeout=PATIENCE_S).raise_for_status()
    return url


def fill(database: Database, jobs: Jobs, workers: Sequence[int]) -> None:
    """Make an organisation with its jobs; those that run have these processes."""
    with database.write() as connection:
        connection.execute(insert(schema.orgs).values(id=SLUG, slug=SLUG, name=SLUG))
        connection.execute(
            insert(schema.identities).values(id=SLUG, token_hash=digest(TOKEN), kind="anon", org_id=SLUG, created_at=AT)
        )
        connection.execute(insert(schema.projects).values(id=SLUG, org_id=SLUG, slug=SLUG, name=SLUG, created_at=AT))
        for number, pid in enumerate(workers):
            job_id = f"job_running_{number}"
            _job(connection, job_id, status="running", attempt=1)
            worker = f"process:{pid}:{process_start(pid)}"
            connection.execute(
                insert(schema.attempts).values(job_id=job_id, number=1, token_hash=digest(TOKEN), worker=worker)
            )
        for number in range(jobs.finished):
            _job(connection, f"job_finished_{number}", status="completed", completed_at=AT)
        for number in range(jobs.queued):
            _job(connection, f"job_queued_{number}", status="queued")
        if jobs.history:
            _history(connection, jobs.history)
    database.close()


def _job(connection: Connection, job_id: str, **values: Any) -> None:
    config = {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}}
    connection.execute(
        insert(schema.jobs).values(
            id=job_id,
            org_id=SLUG,
            project_id=SLUG,
            name=job_id,
            config=config,
            created_at=AT,
            request_hash="",
            **values,
        )
    )


def _history(connection: Connection, count: int) -> None:
    _job(connection, "job_history", status="completed", completed_at=AT, last_event_id=count)
    rows = [
        {
            "job_id": "job_history",
            "id": number,
            "type": "training.log" if number < count else "training.completed",
            "step": number,
            "data": json.dumps({"timestamp": AT, "step": number, "loss": 2.5, "type": "training.log", "jobId": "j"}),
        }
        for number in range(1, count + 1)
    ]
    connection.execute(insert(schema.events), rows)


def report(session: requests.Session, url: str, number: int, first: int, count: int, **extra: Any) -> None:
    """Send one report of a stand-in worker."""
    events = [
        {"seq": seq, "type": "training.log", "step": seq, "loss": 2.5, "learningRate": 2e-4, "epoch": 0.5, **extra}
        for seq in range(first, first + count)
    ]
    answer = session.post(
        f"{url}/internal/jobs/job_running_{number}/events", json={"attempt": 1, "events": events}, headers=HEADERS
    )
    answer.raise_for_status()


def keep_reporting(url: str, number: int, reports: int, count: int, done: Any) -> None:
    """Report so many times, as quickly as the backend answers, and say how long that took."""
    with requests.Session() as session:
        report(session, url, number, 1, count)  # the connection, and the caches
        began = time.monotonic()
        for turn in range(1, reports + 1):
            report(session, url, number, 1 + turn * count, count)
    done.put(time.monotonic() - began)


def stored_a_second(place: Place, count: int, reports: int) -> float:
    """Return how many events of four workers are stored a second, with so many events a report."""
    with backends(place, Jobs(running=4)) as (urls, _):
        done = SPAWN.Queue()
        told = [(urls[n % len(urls)], n, reports, count, done) for n in range(4)]
        workers = [SPAWN.Process(target=keep_reporting, args=args) for args in told]
        for worker in workers:
            worker.start()
        took: list[float] = [done.get(timeout=PATIENCE_S * 4) for _ in workers]
        for worker in workers:
            worker.join()
    return 4 * reports * count / max(took)


def watch(url: str, watchers: int, events: int, ready: Any, done: Any) -> None:
    """Open so many streams, and say how long each event took from its report to each of them, in milliseconds."""
    parts, selector = urlsplit(url), selectors.DefaultSelector()
    path = f"/v1/jobs/job_running_0/events/stream?orgSlug={SLUG}&projectSlug={SLUG}"
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    seen = dict.fromkeys(range(watchers), 0)
    for number in seen:
        connection = socket.create_connection((parts.hostname or "", parts.port or 0))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode())
        selector.register(connection, selectors.EVENT_READ, number)
        first = connection.recv(65536)
        if b" 200 " not in first.split(b"\r\n", 1)[0]:
            raise click.ClickException(f"Watcher {number} was refused: {first!r:.200}")
    ready.put(True)
    took: list[float] = []
    deadline = time.monotonic() + PATIENCE_S * 2
    while any(count < events for count in seen.values()) and time.monotonic() < deadline:
        for key, _ in selector.select(1):
            assert isinstance(key.fileobj, socket.socket)
            found = SENT.findall(key.fileobj.recv(65536))
            now = time.monotonic()
            took += [1000 * (now - float(at)) for at in found]
            seen[key.data] += len(found)
    done.put((took, sum(seen.values())))


def watched(place: Place, watchers: int, seconds: float, rate: int) -> tuple[list[float], list[float], int]:
    """Return (milliseconds from report to watcher, milliseconds a report took, events received)."""
    events = int(seconds * rate)
    with backends(place, Jobs(running=1)) as (urls, _), requests.Session() as session:
        url = urls[0]
        ready, done = SPAWN.Queue(), SPAWN.Queue()
        reader = SPAWN.Process(target=watch, args=(urls[-1], watchers, events, ready, done))
        if watchers:
            reader.start()
            ready.get(timeout=PATIENCE_S)
        report(session, url, 0, 1, 1)
        took, pause = [], threading.Event()
        began = time.monotonic()
        for number in range(events):
            pause.wait(max(0.0, began + number / rate - time.monotonic()))
            sent = time.monotonic()
            report(session, url, 0, 2 + number, 1, sentAt=sent)
            took.append(1000 * (time.monotonic() - sent))
        latencies, received = done.get(timeout=PATIENCE_S * 3) if watchers else ([], 0)
        if watchers:
            reader.join()
    return latencies, took, received


def replayed(place: Place, count: int) -> float:
    """Return the seconds that a history of so many events takes to arrive."""
    with backends(place, Jobs(history=count)) as (urls, _):
        parts = urlsplit(urls[-1])
        path = f"/v1/jobs/job_history/events/stream?orgSlug={SLUG}&projectSlug={SLUG}"
        head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        began, found = time.monotonic(), 0
        with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{head}\r\n".encode())
            while data := connection.recv(1024 * 1024):
                found += data.count(b"\nid: ")
        took = time.monotonic() - began
    if found < count * 0.99:  # an id that is cut by two reads is not counted
        raise click.ClickException(f"{found} of {count} events arrived")
    return took


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


def show_storing(place: Place, scale: float) -> None:
    """Print the speed of storing."""
    for count, reports in ((200, int(60 * scale) or 1), (1, int(300 * scale) or 1)):
        print(f"4 workers, {count} events a report: {stored_a_second(place, count, reports):,.0f} events/s stored")


def show_watching(place: Place, scale: float) -> None:
    """Print how soon watchers have an event, and what they cost the reports."""
    seconds = max(1.0, 10 * scale)
    _, alone, _ = watched(place, 0, seconds, 50)
    for watchers in (200, 500):
        latencies, took, received = watched(place, watchers, seconds, 50)
        wanted = watchers * int(seconds * 50)
        print(
            f"{watchers} watchers, 50 events/s: report to watcher p50 {percentile(latencies, 0.5):.0f} ms, "
            f"p99 {percentile(latencies, 0.99):.0f} ms, {received:,} of {wanted:,} received; a report takes "
            f"{statistics.median(took):.1f} ms ({statistics.median(alone):.1f} ms without watchers)"
        )


def show_replay(place: Place, scale: float) -> None:
    """Print how long a long history takes."""
    count = int(100_000 * scale) or 1000
    print(f"{count:,} events replayed in {replayed(place, count):.2f} s")


def show_start(place: Place, scale: float) -> None:
    """Print how soon a backend with many jobs is ready."""
    jobs = Jobs(finished=int(1000 * scale), queued=int(50 * scale))
    with backends(place, jobs) as (_, took):
        print(f"ready in {took:.2f} s with {jobs.finished} finished and {jobs.queued} queued jobs")
    with backends(place, Jobs()) as (_, took):
        print(f"ready in {took:.2f} s without a job")


PARTS: dict[str, Callable[[Place, float], None]] = {
    "storing": show_storing,
    "watching": show_watching,
    "replay": show_replay,
    "start": show_start,
}


@click.command()
@click.option("--only", type=click.Choice(list(PARTS)), help="Run one part.")
@click.option("--scale", default=1.0, show_default=True, help="A share of the work; 0.01 shows that it runs.")
@click.option("--database", type=click.Choice([SQLITE, POSTGRESQL]), default=SQLITE, show_default=True)
@click.option("--servers", type=click.IntRange(1), default=1, show_default=True, help="Backends that share it.")
def main(only: str | None, scale: float, database: str, servers: int) -> None:
    """Measure the self-hosted backend."""
    if servers > 1 and database == SQLITE:
        raise click.UsageError("A SQLite file has one server: pass --database postgresql.")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    for name, show in PARTS.items():
        if only in {None, name}:
            show(Place(database, servers), scale)


if __name__ == "__main__":
    main()
