"""What is Ray's own, of a real backend whose workers run on a real cluster: its list of jobs, its processes, its nodes.

``test_conformance.py`` has what holds for every engine. Skipped without Ray; ``make test-ray`` installs it.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
import requests

from tests.support.backend import ROOT, BackendProcess, Client, is_running
from tests.support.eventually import eventually
from tests.support.ray_cluster import QUICK_TO_NOTICE, RayCluster, free_port, ray_cluster, require_ray

_PATIENCE_S = 30.0
_CPUS = 4
_STEPS = [
    ("training.started", None),
    ("training.log", 1),
    ("training.log", 2),
    ("checkpoint.saved", 2),
]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    require_ray()
    home = tmp_path_factory.mktemp("nodes")
    with ray_cluster({"PYTHONPATH": str(ROOT), "HOME": str(home), **QUICK_TO_NOTICE}, cpus=_CPUS) as running:
        yield running


@pytest.fixture
def start(prepare: Callable[..., BackendProcess], cluster: RayCluster) -> Callable[..., BackendProcess]:
    """Start a backend of the test's own on the cluster; its options are keyword arguments."""
    usual = {"engine": "ray", "ray_address": cluster.address, "cancel_grace": 5.0, "max_parallel": 4, "lease": 5.0}
    return lambda **options: prepare(**{**usual, **options}).start()


def _jobs(cluster: RayCluster) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = requests.get(f"{cluster.address}/api/jobs/", timeout=15).json()
    return [job for job in found if job["submission_id"]]


def _submit(client: Client, name: str, config: dict[str, Any]) -> str:
    return str(client.submit(name, {**config, "saveSteps": 2}).json()["job"]["id"])


def _seen(frames: list[Any]) -> list[tuple[str, Any]]:
    return [(frame.event, frame.data.get("step")) for frame in frames if frame.event != "ping"]


def _half_done(backend: BackendProcess, client: Client, config: dict[str, Any]) -> tuple[str, int]:
    """Return a job of four steps that has saved its second one, and its worker's process."""
    job_id = _submit(client, "gated:4", config)
    eventually(backend.job_dir(job_id).is_dir, "the job has a folder", _PATIENCE_S)
    backend.allow(job_id, 2)
    client.open_stream(job_id).until("checkpoint.saved")
    return job_id, backend.worker_pid(job_id)


def _goes_on(backend: BackendProcess, client: Client, job_id: str, between: list[str]) -> None:
    """Let a job that was interrupted end, and check that it went on behind its checkpoint."""
    backend.allow(job_id, 4)
    seen = _seen(client.events(job_id))
    assert seen[:4] == _STEPS
    assert [kind for kind, _ in seen[4:]][: len(between)] == between
    assert seen[4 + len(between) :] == [
        ("training.log", 3),
        ("training.log", 4),
        ("checkpoint.saved", 4),
        ("training.completed", None),
    ]


def _wait_for(client: Client, job_id: str, status: str) -> None:
    eventually(lambda: client.job(job_id)["status"] == status, f"{job_id} is {status}", _PATIENCE_S)


def test_a_job_runs_on_the_cluster_and_leaves_nothing_there(
    start: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any]
) -> None:
    """Neither Ray's list nor a command line has the attempt's token; the output is in the job's log."""
    backend = start(host="127.0.0.2")  # as the address of another machine
    client = backend.client()
    job_id, pid = _half_done(backend, client, config)
    spec = json.loads((backend.job_dir(job_id) / "spec.json").read_bytes())
    [job] = [job for job in _jobs(cluster) if job_id in job["submission_id"]]
    assert job["submission_id"] == f"arkor-{job_id}-1"
    assert spec["token"] not in json.dumps(job)
    assert all(spec["token"] not in word for word in psutil.Process(pid).cmdline())
    assert spec["backendUrl"] == backend.url
    assert "//127.0.0.2:" in backend.url
    assert spec["threads"] == 1  # of the CPUs that the job has there, however many this machine has
    _goes_on(backend, client, job_id, [])
    eventually(lambda: not any(job_id in job["submission_id"] for job in _jobs(cluster)), "Ray forgets it", _PATIENCE_S)
    assert "Running entrypoint" in (backend.job_dir(job_id) / "worker.log").read_text()


def test_a_worker_that_heeds_no_cancel_is_killed(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """With all it started."""
    backend = start(cancel_grace=1.0)
    client = backend.client()
    job_id = _submit(client, "hang", config)
    client.open_stream(job_id).until("training.started")
    pids = [backend.worker_pid(job_id), int((backend.job_dir(job_id) / "child-pid").read_text())]
    client.cancel(job_id)
    assert client.events(job_id)[-1].event == "training.cancelled"
    eventually(lambda: not any(map(is_running, pids)), "both are gone", _PATIENCE_S)


def test_a_worker_whose_supervisor_is_lost_is_resumed_once(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """By the backend alone: Ray starts nothing again when its own process above the worker is killed."""
    backend = start()
    client = backend.client()
    job_id, pid = _half_done(backend, client, config)
    node = psutil.Process(pid).parent()
    assert node is not None
    supervisor = node.parent()
    assert supervisor is not None
    assert "JobSupervisor" in supervisor.name() + " ".join(supervisor.cmdline())
    supervisor.kill()
    backend.worker_pid(job_id, attempt=2)
    _goes_on(backend, client, job_id, ["training.interrupted"])
    eventually(lambda: not is_running(pid), "the first worker is gone", _PATIENCE_S)
    assert not (backend.job_dir(job_id) / "pid-3").exists()


def test_a_crash_fails_the_job_with_the_end_of_its_log(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """It is fetched before the job is settled."""
    client = start().client()
    job_id = _submit(client, "crash:7", config)
    [failed] = client.events(job_id)
    assert "The worker ended with exit code 7" in failed.data["error"]
    assert failed.data["error"].endswith("RuntimeError: the scripted worker was told to crash")


def test_a_backend_that_stops_lets_its_workers_save(
    start: Callable[..., BackendProcess], config: dict[str, Any]
) -> None:
    """The next one goes on."""
    backend = start()
    client = backend.client()
    job_id, pid = _half_done(backend, client, config)
    assert backend.stop() == 0
    assert not is_running(pid)
    client = backend.start().client_as(client)
    backend.worker_pid(job_id, attempt=2)
    _goes_on(backend, client, job_id, [])


def test_jobs_wait_for_room_on_the_cluster(start: Callable[..., BackendProcess], config: dict[str, Any]) -> None:
    """Longer than a worker may be silent; waiting costs no attempt, and can be cancelled."""
    backend = start(ray_cpus=_CPUS, first_lease=2.0, lease=2.0, cancel_grace=1.0)
    client = backend.client()
    first, _ = _half_done(backend, client, config)
    second = _submit(client, "complete:1", config)
    _wait_for(client, second, "running")
    third = _submit(client, "complete:1", config)
    threading.Event().wait(5.0)  # longer than the leases
    client.cancel(third)
    assert _seen(client.events(third)) == [("training.cancelled", None)]
    backend.allow(first, 4)
    assert client.events(first)[-1].event == "training.completed"
    assert _seen(client.events(second)) == [
        ("training.started", None),
        ("training.log", 1),
        ("training.completed", None),
    ]


def test_jobs_are_not_failed_while_the_head_does_not_answer(
    prepare: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any]
) -> None:
    """They stay in the queue, and the backend's log says why; when it answers, they run."""
    backend = prepare(engine="ray", ray_address=f"http://127.0.0.1:{free_port()}").start()
    client = backend.client()
    job_id = _submit(client, "complete:1", config)
    eventually(lambda: backend.log.count("Ray does not answer") >= 2, "it was tried twice", _PATIENCE_S)
    assert client.job(job_id)["status"] in {"queued", "running"}
    backend.stop()
    backend.change(ray_address=cluster.address)
    client = backend.start().client_as(client)
    assert client.events(job_id)[-1].event == "training.completed"


def test_jobs_outlast_a_node(start: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any]) -> None:
    """One that is switched off under a job: the job goes on elsewhere."""
    node = cluster.add_node(_CPUS + 1)
    backend = start(ray_cpus=_CPUS + 1, lease=3.0)  # the head has no room for it
    client = backend.client()
    job_id, pid = _half_done(backend, client, config)
    assert pid in {process.pid for process in node.processes()}
    node.kill()
    other = cluster.add_node(_CPUS + 1)
    # Attempt 2 may have been given to the lost node, before Ray knew.
    pids = backend.job_dir(job_id).glob
    eventually(lambda: len(list(pids("pid-*"))) == 2, "another attempt runs", 60.0)
    assert int(max(pids("pid-*")).read_text()) in {process.pid for process in other.processes()}
    _goes_on(backend, client, job_id, ["training.interrupted"])
    other.kill()
