"""The engine of Ray's jobs, with a head that answers as the test wants.

``tests/integration/backend/test_engines.py`` has a real one.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from arkor.backend.processes.engine import EngineAway, Launch, WorkerHandle
from arkor.backend.processes.exit_reasons import NOT_STARTED_EXIT_CODE
from arkor.backend.processes.ray_engine import RayEngine, Reservation
from arkor.backend.processes.ray_jobs import RayJobs
from tests.support.eventually import eventually
from tests.support.ray_cluster import free_port
from tests.support.scripted_ray import ScriptedRay, scripted_ray

JOB = "arkor-job_1-1"


@attrs.define
class World:
    """An engine, its head, and a launch."""

    ray: ScriptedRay
    folder: Path
    engine: RayEngine
    codes: list[int | None] = attrs.field(factory=list)

    @property
    def launch(self) -> Launch:
        return Launch(name="job_1-1", spec_path=self.folder / "spec.json", log_path=self.folder / "worker.log")

    @property
    def log(self) -> str:
        return self.launch.log_path.read_text()

    def start(self) -> WorkerHandle:
        return self.engine.start(self.launch, self.codes.append)

    def code(self) -> int | None:
        return eventually(lambda: self.codes, "the end is told")[0]


def watchers() -> set[threading.Thread]:
    """Return the threads that look at the workers on a cluster."""
    return {thread for thread in threading.enumerate() if thread.name == "ray-watcher"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    before = set(threading.enumerate())
    with scripted_ray() as ray:
        reservation = Reservation(cpus=2, gpus=0.5, python="/opt/python", stop_wait_s=7)
        world = World(ray, tmp_path, RayEngine(RayJobs(ray.address, {}), "a.module", reservation, look_s=0.02))
        yield world
        ray.jobs.clear()
        eventually(lambda: not watchers() - before, "it looks no more")


def test_a_worker_gets_what_was_reserved(world: World) -> None:
    """What Ray is told names the spec alone, and lets the worker save when it is stopped."""
    assert world.start() == WorkerHandle(f"ray:{JOB}")
    job = world.ray.jobs[JOB]
    assert job["entrypoint"] == (
        f"exec /opt/python -P -m arkor.backend.processes.ray_node a.module {world.launch.spec_path}"
    )
    assert (job["entrypoint_num_cpus"], job["entrypoint_num_gpus"]) == (2, 0.5)
    assert job["runtime_env"] == {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": "7"}}
    assert job["metadata"] == {
        "arkor.spec": str(world.launch.spec_path),
        "arkor.log": str(world.launch.log_path),
        "arkor.devices": "1",
    }


def test_a_worker_on_several_devices_reserves_room_for_all_of_them_itself(world: World) -> None:
    """Its job reserves nothing, so that two of them never each hold what the other one waits for."""
    world.engine.start(attrs.evolve(world.launch, devices=3), world.codes.append)
    job = world.ray.jobs[JOB]
    assert job["entrypoint"] == (
        f"exec /opt/python -P -m arkor.backend.processes.ray_group {JOB} 3 2 0.5 /opt/python a.module "
        f"{world.launch.spec_path}"
    )
    assert (job["entrypoint_num_cpus"], job["entrypoint_num_gpus"]) == (0, 0)


def test_a_worker_on_several_devices_waits_until_all_have_room(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Its Ray job runs meanwhile; the log says if the nodes never have room, and a later backend knows it too."""
    world.ray.nodes = [{"CPU": 5.0, "GPU": 0.5}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 2.0}]
    handle = world.engine.start(attrs.evolve(world.launch, devices=3), world.codes.append)
    world.ray.jobs[JOB]["status"] = "RUNNING"
    says = "it needs 3 devices of 2 CPUs and 0.5 GPUs, and the nodes of the cluster have 1"
    eventually(lambda: says in caplog.text, "the log says it")
    looks = len(world.ray.asked)
    eventually(lambda: len(world.ray.asked) > looks + 8, "it was looked at again")
    assert caplog.text.count(says) == 1
    later = RayEngine(RayJobs(world.ray.address, {}), "a.module", look_s=0.02)
    assert later.is_alive(handle)
    for engine in (world.engine, later):
        assert engine.is_waiting(handle)
    world.ray.placed = [JOB]
    for engine in (world.engine, later):
        eventually(lambda engine=engine: not engine.is_waiting(handle), "it has room")  # type: ignore[misc]
    world.ray.placed = []  # as after the loss of a node
    looks = len(world.ray.asked)
    eventually(lambda: len(world.ray.asked) > looks + 4, "it was looked at again")
    assert not world.engine.is_waiting(handle)
    world.ray.end(JOB, "FAILED", driver_exit_code=68)
    assert world.code() == 68
    eventually(lambda: not later.is_alive(handle), "the later one knows")


def test_a_submission_whose_answer_is_lost_is_found(world: World) -> None:
    """There is one job, and it is the worker."""
    world.ray.answers = [(0, "")]
    world.start()
    assert world.ray.asked[:3] == ["POST /api/jobs/", "POST /api/jobs/", f"GET /api/jobs/{JOB}"]
    world.ray.end(JOB, "SUCCEEDED", driver_exit_code=0)
    assert world.code() == 0


@pytest.mark.parametrize(
    ("end", "code"),
    [
        ({"status": "SUCCEEDED", "driver_exit_code": 0}, 0),
        ({"status": "FAILED", "driver_exit_code": -9}, -9),
        ({"status": "STOPPED"}, 4),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED", "driver_node_id": "a"}, None),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_DIED"}, NOT_STARTED_EXIT_CODE),
        ({"status": "FAILED", "error_type": "RUNTIME_ENV_SETUP_FAILURE"}, None),
        ({"status": "FAILED", "error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT"}, NOT_STARTED_EXIT_CODE),
    ],
)
def test_each_end_has_its_code(world: World, end: dict[str, object], code: int | None) -> None:
    """One that Ray stopped has saved and is resumed; a lost one and one that found no node are known as such."""
    handle = world.start()
    world.ray.jobs[JOB] |= end
    assert world.code() == code
    assert not world.engine.is_alive(handle)
    assert world.log == "out\n"
    eventually(lambda: not world.ray.jobs, "Ray forgets it")


def test_a_job_that_ray_has_lost_is_gone(world: World) -> None:
    """As after a start of its head without the former data."""
    handle = world.start()
    world.ray.jobs.clear()
    assert world.code() is None
    assert not world.engine.is_alive(handle)


def test_a_kill_is_told_as_one(world: World) -> None:
    """Ray's word for it is the same as for a stop."""
    handle = world.start()
    killing = threading.Thread(target=world.engine.kill, args=(handle,))
    killing.start()
    eventually(lambda: f"POST /api/jobs/{JOB}/stop" in world.ray.asked, "it is stopped")
    world.ray.end(JOB, "STOPPED")
    assert world.code() == -signal.SIGKILL
    killing.join()


def test_a_worker_waits_until_a_node_has_room(world: World) -> None:
    """From its start on; unless the head does not answer, because then nobody knows."""
    handle = world.start()
    assert world.engine.is_waiting(handle)
    world.ray.jobs[JOB]["status"] = "RUNNING"
    eventually(lambda: not world.engine.is_waiting(handle), "it runs")
    world.ray.jobs[JOB]["status"] = "PENDING"
    eventually(lambda: world.engine.is_waiting(handle), "it waits")
    world.ray.answers = [(500, "")] * 1000
    eventually(lambda: not world.engine.is_waiting(handle), "nobody knows")
    world.ray.answers.clear()
    eventually(lambda: world.engine.is_waiting(handle), "it waits again")


def test_the_last_lines_come_from_the_head_if_the_node_is_gone(world: World) -> None:
    """It keeps them with the job."""
    world.ray.log = None
    world.start()
    world.ray.end(JOB, "FAILED", driver_exit_code=1, message="failed with exit code 1, last lines:\nMemoryError")
    assert world.code() == 1
    assert world.log.endswith("MemoryError\n")


def test_the_end_of_a_long_output_is_kept(world: World) -> None:
    """The rest is not worth the disk."""
    world.ray.log = "x" * 2 * 1024**2 + "the end"
    world.start()
    world.ray.end(JOB, "SUCCEEDED", driver_exit_code=0)
    world.code()
    assert len(world.log) == 1024**2
    assert world.log.endswith("the end\n")


def test_an_end_is_told_even_if_its_log_cannot_be_kept(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The job was deleted meanwhile, with its folder."""
    launch = attrs.evolve(world.launch, log_path=world.folder / "gone" / "worker.log")
    world.engine.start(launch, world.codes.append)
    world.ray.end(JOB, "SUCCEEDED", driver_exit_code=0)
    assert world.code() == 0
    assert "is not kept" in caplog.text


def test_workers_stay_alive_while_the_head_does_not_answer(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The log says it once; a later backend counts a worker as alive without asking again and again."""
    caplog.set_level(logging.WARNING)
    handle = world.start()
    later = RayEngine(RayJobs(f"http://127.0.0.1:{free_port()}", {}), "a.module", look_s=0.02)
    world.ray.answers = [(500, "")] * 5
    eventually(lambda: not world.ray.answers, "it was asked")
    assert world.engine.is_alive(handle)
    assert world.codes == []
    assert caplog.text.count("Workers count as alive") == 1
    assert later.is_alive(handle)
    assert later.is_alive(handle)
    assert caplog.text.count("counts as alive for now") == 1
    assert later.find(world.folder) == []
    later._watched.clear()  # its head never answers, so nothing else ends its thread
    world.ray.end(JOB, "SUCCEEDED", driver_exit_code=0)
    assert world.code() == 0


def test_starts_do_not_wait_each_for_a_head_that_does_not_answer(world: World) -> None:
    """The next ones fail at once, for a few seconds."""
    world.ray.close()
    engine = RayEngine(RayJobs(world.ray.address, {}), "a.module")
    texts = []
    for _ in range(2):
        with pytest.raises(EngineAway) as raised:
            engine.start(world.launch, world.codes.append)
        texts.append(str(raised.value))
    assert texts[0] == texts[1]
    assert world.codes == []


def test_a_failing_listener_does_not_stop_the_others(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Its own end is told once all the same."""

    def fail(_: int | None) -> None:
        raise RuntimeError("listener")

    world.engine.start(attrs.evolve(world.launch, name="job_0-1"), fail)
    world.start()
    for job_id in ("arkor-job_0-1", JOB):
        world.ray.end(job_id, "SUCCEEDED", driver_exit_code=0)
    assert world.code() == 0
    assert caplog.text.count("RuntimeError: listener") == 1


def test_jobs_of_others_are_not_ours(world: World) -> None:
    """Those without our note, of another folder, or that have ended; the latter go, if they were ours."""
    world.ray.jobs = {
        "theirs": {"submission_id": "theirs", "status": "RUNNING", "metadata": {}},
        "driver": {"submission_id": None, "status": "RUNNING"},
        "other": {"submission_id": "other", "status": "RUNNING", "metadata": {"arkor.spec": "/other/spec.json"}},
        "ended": {
            "submission_id": "ended",
            "status": "FAILED",
            "metadata": {"arkor.spec": f"{world.folder}/spec.json"},
        },
    }
    assert world.engine.find(world.folder) == []
    eventually(lambda: "ended" not in world.ray.jobs, "an earlier backend's job is removed")
    assert set(world.ray.jobs) == {"theirs", "driver", "other"}


def test_many_kills_share_their_patience(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their node is gone, and Ray does not know it yet."""
    monkeypatch.setattr("arkor.backend.processes.ray_engine._KILL_WAIT_S", 0.5)
    handles = [world.engine.start(attrs.evolve(world.launch, name=f"job_{number}-1"), print) for number in range(10)]
    began = time.monotonic()
    for handle in handles:
        world.engine.kill(handle)
    assert 0.5 <= time.monotonic() - began < 2.0


def test_a_job_that_ray_does_not_remove_keeps_nobody_waiting(world: World) -> None:
    """The ends of others are told meanwhile; it is tried again later."""
    world.ray.fails_to_delete = True
    world.start()
    world.ray.end(JOB, "SUCCEEDED", driver_exit_code=0)
    world.code()
    eventually(lambda: f"DELETE /api/jobs/{JOB}" in world.ray.asked, "it was tried")
    later: list[int | None] = []
    world.engine.start(attrs.evolve(world.launch, name="job_2-1"), later.append)
    world.ray.end("arkor-job_2-1", "FAILED", driver_exit_code=7)
    assert eventually(lambda: later, "the end is told") == [7]
    world.ray.fails_to_delete = False
    eventually(lambda: not world.ray.jobs, "both are removed")


def test_without_a_thread_to_watch_it_a_worker_is_stopped(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine has none left: the start fails."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    world.ray.asked.clear()
    with monkeypatch.context() as patched:
        patched.setattr("arkor.backend.processes.ray_engine.threading.Thread.start", refuse)
        patched.setattr(world.engine, "_submit", lambda *_: None)
        patched.setattr(world.engine, "terminate", lambda handle: world.ray.asked.append(str(handle)))
        with pytest.raises(OSError, match="can't start new thread"):
            world.start()
    assert world.ray.asked == [f"ray:{JOB}"]
    assert world.engine._watched == {}
