"""Jobs on several devices of a real Ray cluster whose nodes have room for one process each.

Skipped without Ray; ``make test-ray`` installs it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests

from arkor.backend.processes.ray_jobs import RayJobs
from arkor.protocol.config import JobConfig
from tests.support.backend import ROOT, BackendProcess, Client, is_running
from tests.support.eventually import eventually
from tests.support.processes import processes_of
from tests.support.ray_cluster import QUICK_TO_NOTICE, START_TIMEOUT_S, RayCluster, RayNode, ray_cluster, require_ray
from tests.support.two_devices import AS_ONE, FIGURES, SETTINGS, STEPS, TWO, alone

pytestmark = [
    pytest.mark.training,
    pytest.mark.timeout(500),
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

_PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayCluster]:
    """A head without room, and two nodes."""
    require_ray()
    environment = {"PYTHONPATH": str(ROOT), "HOME": str(tmp_path_factory.mktemp("nodes")), **QUICK_TO_NOTICE}
    with ray_cluster(environment, cpus=0) as running:
        for count in (1, 2):
            _add_node(running, count)
        yield running


def _add_node(cluster: RayCluster, count: int) -> None:
    """Add one with room for a process, and wait until there are so many."""
    cluster.add_node(1)
    jobs = RayJobs(cluster.address, {})
    eventually(lambda: jobs.room(1, 0) == count, "the node has joined", START_TIMEOUT_S)


@pytest.fixture
def start(prepare: Callable[..., BackendProcess], cluster: RayCluster) -> Callable[..., BackendProcess]:
    """Start a backend of the test's own on the cluster; its options are keyword arguments."""
    usual = {"engine": "ray", "ray_address": cluster.address, "cancel_grace": 5.0, "max_parallel": 4, "lease": 15.0}
    usual |= {"first_lease": 60.0}
    return lambda **options: prepare(**{**usual, **options}).start()


def _submit(client: Client, name: str, config: dict[str, Any], **settings: Any) -> str:
    answer = client.submit(name, {**config, "saveSteps": 2, **TWO, **settings})
    return str(answer.json()["job"]["id"])


def _at(cluster: RayCluster, backend: BackendProcess, job_id: str, module: str) -> tuple[RayNode, psutil.Process]:
    """Return the node that runs a module for a job, and its process there."""

    def found() -> set[tuple[RayNode, psutil.Process]]:
        there = set()
        for node in cluster.nodes[1:]:
            for process in node.processes():
                with contextlib.suppress(psutil.Error):
                    command = process.cmdline()
                    if command[2:4] == ["-m", module] and command[4].startswith(str(backend.job_dir(job_id))):
                        there.add((node, process))
        return there

    [at] = eventually(found, f"{module} runs", _PATIENCE_S)
    return at


def test_two_nodes_learn_as_one_device(
    start: Callable[..., BackendProcess],
    cluster: RayCluster,
    model_folder: Path,
    rows: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Each figure of each step is the same, but for rounding; also where a node is switched off in the middle."""
    single = alone(model_folder, rows, tmp_path_factory.mktemp("one"), **AS_ONE)
    backend = start(worker="arkor.backend.training_worker", lease=60.0)
    client, content = backend.client(), rows.read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    client.request("PUT", f"/v1/datasets/{sha256}", data=content)
    source = {"type": "dataset", "id": sha256}
    config = JobConfig(model=str(model_folder), dataset_source=source, **SETTINGS, **TWO)
    job_id = str(client.submit("two", config.to_wire()).json()["job"]["id"])
    first, worker = _at(cluster, backend, job_id, "arkor.backend.training_worker")
    other, _ = _at(cluster, backend, job_id, "arkor.backend.training_worker.elsewhere")
    assert first is not other
    stream = client.open_stream(job_id)
    while stream.until("training.log")[-1].data["step"] < 10:
        pass
    worker.suspend()  # it would be done before the node is gone
    other.kill()
    worker.resume()
    cluster.add_node(1)
    events = client.events(job_id)
    assert events[-1].event == "training.completed"
    [lost] = [event.data for event in events if event.event == "training.interrupted"]
    assert lost["reason"] == "The process of a device, or its node, was gone"
    logs = [event.data for event in events if event.event == "training.log"]
    for name in FIGURES:
        told = {log["step"]: log[name] for log in logs if name in log and log[name] is not None}
        assert told == pytest.approx(single.figures(name), rel=1e-4, abs=1e-5)
    assert {log["step"] for log in logs} == set(range(1, STEPS + 1))
    assert "On device 2 of 2: its process or its node " in (backend.job_dir(job_id) / "worker.log").read_text()
    _nothing_is_left(backend)


def _nothing_is_left(backend: BackendProcess) -> None:
    """Wait until no process of a job is on a node."""
    eventually(lambda: not processes_of(backend.data / "jobs"), "the processes on the nodes are gone", _PATIENCE_S)


def test_a_job_on_two_nodes_is_paused_and_goes_on(
    start: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any]
) -> None:
    """Its first process has time to save, and nothing of it stays on a node; Ray knows no secret of it."""
    backend = start()
    client = backend.client()
    job_id = _submit(client, "gated:4", config)
    backend.allow(job_id, 2)
    client.open_stream(job_id).until("checkpoint.saved")
    pid = backend.worker_pid(job_id)
    spec = json.loads((backend.job_dir(job_id) / "spec.json").read_bytes())
    assert spec["threads"] == 1
    for path in ("jobs/", "v0/actors?detail=true", "v0/tasks?detail=true"):
        assert spec["token"] not in requests.get(f"{cluster.address}/api/{path}", timeout=15).text
    client.request("POST", f"/v1/jobs/{job_id}/pause")
    eventually(lambda: client.job(job_id)["status"] == "paused", "it is paused", _PATIENCE_S)
    assert not is_running(pid)
    assert backend.checkpoint(job_id) == 2
    _nothing_is_left(backend)
    client.request("POST", f"/v1/jobs/{job_id}/unpause")
    backend.allow(job_id, 4)
    assert client.events(job_id)[-1].event == "training.completed"


@pytest.mark.parametrize("how", ["cancelled", "killed"])
def test_nothing_stays_on_a_node(
    start: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any], how: str
) -> None:
    """Of a job that is cancelled and does not listen, and of one whose own Ray job is killed, which is resumed."""
    backend = start(cancel_grace=1.0, stop_grace=1.0)
    client = backend.client()
    job_id = _submit(client, "hang", config)
    client.open_stream(job_id).until("training.started")
    folder = backend.job_dir(job_id)
    pids = [backend.worker_pid(job_id), int((folder / "child-pid").read_text())]
    if how == "killed":
        [group] = [process for process in processes_of(folder) if f"arkor-{job_id}-1" in process.cmdline()]
        group.kill()
        eventually((folder / "pid-2").exists, "another attempt runs", _PATIENCE_S)
    client.cancel(job_id)
    assert client.events(job_id)[-1].event == "training.cancelled"
    eventually(lambda: not any(map(is_running, pids)), "the worker is gone", _PATIENCE_S)
    _nothing_is_left(backend)


def test_a_job_that_finds_no_room_is_named_in_the_log(
    start: Callable[..., BackendProcess], cluster: RayCluster, config: dict[str, Any]
) -> None:
    """It waits for longer than a worker may be silent, without a node for itself alone, and can be cancelled."""
    backend = start(first_lease=20.0, cancel_grace=1.0)
    client = backend.client()
    job_id = _submit(client, "complete:1", config, devices=3)
    says = "it needs 3 devices of 1 CPUs and 0 GPUs, and the nodes of the cluster have 2"
    eventually(lambda: says in backend.log, "the log names it", _PATIENCE_S)
    small = _submit(client, "complete:1", config, devices=2)
    assert client.events(small)[-1].event == "training.completed"
    assert client.job(job_id)["status"] == "running"
    client.cancel(job_id)
    assert [event.event for event in client.events(job_id)] == ["training.cancelled"]
    _nothing_is_left(backend)
