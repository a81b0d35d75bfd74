"""Jobs on a Ray cluster whose nodes are switched off: ``python bench/cluster.py --seed 7``.

The backend, its engine and the cluster are real, all on this machine: a head without room for jobs, and two nodes.
Training is scripted (``tests/support/scripted_worker.py``). Again and again SIGKILL ends a node with all on it, and
another one joins. At the end every job must have completed, with each of its events once and in order, and neither
Ray nor this machine may have a job of theirs left. The exit code is 1 if not.

It needs the extras ``local`` and ``ray`` and, for 20 jobs, one to three minutes.
"""

from __future__ import annotations

import random
import re
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import click
import requests
from backend_process import ROOT

from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually
from tests.support.processes import processes_of
from tests.support.ray_cluster import RayCluster, RayNode, ray_cluster
from tests.support.tiny_model import write_tiny_model

STEPS = 100
SAVE_STEPS = 5
CPUS = 4  # of a node; a job takes one
KILL_EVERY_S = (10.0, 20.0)
_PID_FILE = re.compile(r"pid-(\d+)")


@attrs.define
class Killer:
    """Switches off the node with the most jobs and adds another one, until it is told to stop.

    Attributes:
        moments: when it did, in seconds since 1970.
        lost: each worker that ended with its node: the job, the attempt and the moment.
    """

    cluster: RayCluster
    backend: BackendProcess
    rng: random.Random
    nodes: list[RayNode]
    moments: list[float] = attrs.field(factory=list)
    lost: list[tuple[str, int, float]] = attrs.field(factory=list)

    def run(self, done: threading.Event, timeout_s: float) -> None:
        """Kill until the event is set, for so many seconds at most."""
        until = time.monotonic() + timeout_s
        while not done.wait(self.rng.uniform(*KILL_EVERY_S)) and time.monotonic() < until:
            self.rng.shuffle(self.nodes)
            self.nodes.sort(key=lambda node: len(self._workers_on(node)))
            node = self.nodes.pop()
            lost = self._workers_on(node)
            moment = time.time()
            self.moments.append(moment)
            self.lost += [(job_id, attempt, moment) for job_id, attempt in lost]
            node.kill()
            self.nodes.append(self.cluster.add_node(CPUS))

    def _workers_on(self, node: RayNode) -> list[tuple[str, int]]:
        there = {process.pid for process in node.processes()}
        return [(job_id, attempt) for job_id, attempt, pid in _workers(self.backend) if pid in there]

    def delays(self) -> list[float]:
        """Return the seconds from a node's end to the start of the next attempt, of each worker that was lost."""
        found = []
        for job_id, attempt, moment in self.lost:
            later = self.backend.job_dir(job_id) / f"pid-{attempt + 1}"
            if later.exists():
                found.append(later.stat().st_mtime - moment)
        return found


def _workers(backend: BackendProcess) -> Iterator[tuple[str, int, int]]:
    """Yield each worker that was ever started: its job, its attempt and its process."""
    for path in backend.data.glob("jobs/*/pid-*"):
        found = _PID_FILE.fullmatch(path.name)
        if found is not None:
            yield path.parent.name, int(found[1]), int(path.read_text())


def _fault(job: dict[str, Any], frames: list[Any]) -> str | None:
    """Return what is wrong with a job and its events, or None."""
    if job["status"] != "completed":
        return f"it is {job['status']}: {job.get('error')}"
    steps = [frame.data["step"] for frame in frames if frame.event == "training.log"]
    saved = [frame.data["step"] for frame in frames if frame.event == "checkpoint.saved"]
    if steps != list(range(1, STEPS + 1)):
        return f"its logs are of the steps {steps}"
    if saved != list(range(SAVE_STEPS, STEPS + 1, SAVE_STEPS)):
        return f"its checkpoints are of the steps {saved}"
    ids = [frame.id for frame in frames]
    return None if ids == sorted(set(ids)) else "its events are not in order"


def _left(cluster: RayCluster, backend: BackendProcess) -> Iterator[str]:
    def jobs() -> list[str]:
        return [str(job["submission_id"]) for job in requests.get(f"{cluster.address}/api/jobs/", timeout=30).json()]

    try:
        eventually(lambda: not jobs(), "Ray forgets the jobs", 120.0)
    except AssertionError:
        yield f"Ray has {', '.join(jobs())} left"
    backend.stop()
    yield from (f"process {process.pid} is left" for process in processes_of(backend.data))


def _measure(folder: Path, jobs: int, rng: random.Random, timeout_s: float) -> list[str]:
    """Run the jobs, print the figures, and return the faults."""
    with ray_cluster({"PYTHONPATH": str(ROOT), "HOME": str(folder)}, cpus=0) as cluster:
        nodes = [cluster.add_node(CPUS) for _ in range(2)]
        options: dict[str, Any] = {"engine": "ray", "ray_address": cluster.address, "max_parallel": jobs}
        backend = BackendProcess(folder / "backend", lease=15.0, first_lease=60.0, cancel_grace=10.0, **options).start()
        killer, done = Killer(cluster, backend, rng, nodes), threading.Event()
        killing = threading.Thread(target=killer.run, args=(done, timeout_s))
        try:
            client, began = backend.client(), time.monotonic()
            config = {
                "model": str(write_tiny_model(folder / "model")),
                "datasetSource": {"type": "huggingface", "name": "owner/rows"},
                "saveSteps": SAVE_STEPS,
            }
            ids = [client.submit(f"slow:{STEPS}", config).json()["job"]["id"] for _ in range(jobs)]
            killing.start()
            frames = {job_id: client.events(job_id) for job_id in ids}
            took_s = time.monotonic() - began
            done.set()
            killing.join()
            for job_id in ids:
                backend.wait_settled(job_id)
            faults = list(_faults(client, frames))
            _report(killer, frames, took_s)
            faults += _left(cluster, backend)
            return faults
        finally:
            done.set()
            backend.close()


def _faults(client: Client, frames: dict[str, list[Any]]) -> Iterator[str]:
    for job_id, found in frames.items():
        fault = _fault(client.job(job_id), found)
        if fault is not None:
            yield f"{job_id}: {fault}"


def _report(killer: Killer, frames: dict[str, list[Any]], took_s: float) -> None:
    interrupted = sum(frame.event == "training.interrupted" for found in frames.values() for frame in found)
    delays = sorted(killer.delays())
    click.echo(f"{len(frames)} jobs of {STEPS} steps in {took_s:.0f} s; {len(killer.moments)} nodes switched off")
    click.echo(f"{len(killer.lost)} workers lost with them, {interrupted} interruptions told")
    if delays:
        middle = statistics.median(delays)
        click.echo(
            f"from a node's end to the next attempt: {delays[0]:.1f} to {delays[-1]:.1f} s, median {middle:.1f} s"
        )


@click.command()
@click.option("--jobs", default=20, show_default=True, type=click.IntRange(1))
@click.option("--seed", default=None, type=int, help="Of what is killed, and when.")
@click.option("--timeout", "timeout_s", default=300.0, show_default=True, help="Seconds after which nothing is killed.")
def main(jobs: int, seed: int | None, timeout_s: float) -> None:
    """Run jobs on a cluster whose nodes are switched off."""
    seed = random.randrange(10**6) if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="cluster-"))
    click.echo(f"seed {seed}")
    faults = _measure(folder, jobs, random.Random(seed), timeout_s)
    if faults:
        raise click.ClickException("\n".join([*faults, f"The files are in {folder}."]))
    shutil.rmtree(folder)
    click.echo("Every job completed, with each event once; nothing is left.")


if __name__ == "__main__":
    main()
