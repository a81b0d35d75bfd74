"""What every engine of workers has to do, on this machine's processes and on a real Ray cluster.

Ray's part is skipped without Ray; ``make test-ray`` installs it.
"""

from __future__ import annotations

import errno
import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from arkor.backend.processes.child_engine import ProcessEngine
from arkor.backend.processes.engine import Engine, EngineAway, Launch, WorkerHandle
from arkor.backend.processes.ray_engine import RayEngine, Reservation, connect
from arkor.backend.processes.ray_jobs import RayJobs
from arkor.errors import LocalBackendError
from tests.support.backend import ROOT, is_running
from tests.support.eventually import eventually
from tests.support.ray_cluster import RayCluster, free_port, ray_cluster, require_ray

KINDS = ("process", "ray")
_PATIENCE_S = 30.0
_STOP_WAIT_S = 2.0
_LOOK_S = 0.2
_numbers = itertools.count()

# What the workers of this file are made of; each is told its folder by its spec.
_START = """
import os, pathlib, signal, subprocess, sys
folder = pathlib.Path(sys.argv[1]).parent

def say(name, content):
    (folder / "new").write_text(str(content))
    (folder / "new").replace(folder / name)
"""
_DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
_WITH_CHILD = (
    'child = subprocess.Popen([sys.executable, "-c", "import signal; '
    'signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.pause()"])\nsay("child", child.pid)\n'
)
_WAITS = 'say("pid", os.getpid())\nsignal.pause()\n'


@attrs.frozen
class Worker:
    """A worker that was started.

    Attributes:
        folder: its job's folder.
        launch: what it was started with.
        handle: its engine's name for it.
        codes: the exit codes that were told.
    """

    folder: Path
    launch: Launch
    handle: WorkerHandle
    codes: list[int | None] = attrs.field(eq=False)

    def code(self) -> int | None:
        """Wait for its end, and return the code."""
        return eventually(lambda: self.codes, "its end is told", _PATIENCE_S)[0]

    def said(self, name: str) -> int:
        """Wait until it has said something, and return it."""
        eventually((self.folder / name).exists, f"it says its {name}", _PATIENCE_S)
        return int((self.folder / name).read_text())


class World:
    """A kind of engines, and a folder for modules and jobs."""

    def __init__(self, kind: str, folder: Path, cluster: RayCluster | None) -> None:
        self.kind = kind
        self.folder = folder
        self.jobs = folder / "jobs"
        self._cluster = cluster

    def module(self, code: str) -> str:
        """Write a worker's code; return its module."""
        name = f"scripted_module_{next(_numbers)}"
        (self.folder / f"{name}.py").write_text(_START + code)
        return name

    def engine(self, module: str) -> Engine:
        """Return a new engine, as a backend that has just been started."""
        if self._cluster is None:
            return ProcessEngine(module)
        wanted = Reservation(cpus=0.5, stop_wait_s=_STOP_WAIT_S)
        return RayEngine(RayJobs(self._cluster.address, {}), module, wanted, look_s=_LOOK_S)

    def launch(self, name: str = "job") -> Launch:
        """Return a launch with a job's folder of its own."""
        job = self.jobs / f"{name} {next(_numbers)}"  # a shell would divide it
        job.mkdir(parents=True)
        (job / "spec.json").write_text("{}")
        return Launch(name=f"{job.name.replace(' ', '_')}-1", spec_path=job / "spec.json", log_path=job / "worker.log")

    def start(self, engine: Engine, launch: Launch | None = None) -> Worker:
        """Start a worker."""
        launch = launch or self.launch()
        codes: list[int | None] = []
        return Worker(launch.spec_path.parent, launch, engine.start(launch, codes.append), codes)

    def run(self, code: str) -> Worker:
        """Start a worker of its own module."""
        return self.start(self.engine(self.module(code)))


@pytest.fixture(scope="module", params=KINDS)
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One of each kind; the cluster is started once."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "process":
        yield World(request.param, folder, None)
        return
    require_ray()
    with ray_cluster({"PYTHONPATH": f"{folder}:{ROOT}", "HOME": str(folder)}) as running:
        yield World(request.param, folder, running)


@pytest.fixture
def world(cluster: World, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setenv("PYTHONPATH", str(cluster.folder))
    return cluster


@pytest.mark.parametrize("code", [0, 7])
def test_an_end_is_told_once_with_its_code(world: World, code: int) -> None:
    """The worker's output is in its log, behind the earlier output."""
    launch = world.launch()
    launch.log_path.write_text("before\n")
    engine = world.engine(world.module(f"print('out'); print('err', file=sys.stderr); sys.exit({code})"))
    worker = world.start(engine, launch)
    assert worker.code() == code
    assert launch.log_path.read_text().startswith("before\n")
    assert {"out", "err"} <= set(launch.log_path.read_text().splitlines())
    assert not engine.is_alive(worker.handle)
    world.start(engine).code()  # by then the first one was looked at again
    assert worker.codes == [code]


def test_a_death_by_a_signal_is_told_with_its_number(world: World) -> None:
    """As the kernel ends a worker whose memory runs out."""
    assert world.run("os.kill(os.getpid(), signal.SIGKILL)").code() == -signal.SIGKILL


def test_a_module_that_is_missing_is_in_the_log(world: World) -> None:
    """As on a node without arkor."""
    worker = world.start(world.engine("no_such_module"))
    assert worker.code() == 1
    assert "No module named no_such_module" in worker.launch.log_path.read_text()


def test_files_in_the_jobs_folder_are_not_imported(world: World) -> None:
    """The working folder is the job's, and a file there is not a library."""
    engine, launch = world.engine(world.module("import colorsys; say('place', os.getcwd())")), world.launch()
    (launch.spec_path.parent / "colorsys.py").write_text("raise SystemExit(9)")
    worker = world.start(engine, launch)
    assert worker.code() == 0
    assert (worker.folder / "place").read_text() == str(worker.folder)


def test_a_worker_that_is_terminated_may_save(world: World) -> None:
    """Its code says that it goes on later."""
    saves = "def save(*_):\n    say('saved', 1)\n    os._exit(4)\n\nsignal.signal(signal.SIGTERM, save)\n"
    engine = world.engine(world.module(saves + _WAITS))
    worker = world.start(engine)
    worker.said("pid")
    assert engine.is_alive(worker.handle)
    engine.terminate(worker.handle)
    assert (worker.code(), worker.said("saved")) == (4, 1)
    engine.terminate(worker.handle)  # it is gone: nothing happens
    assert not engine.is_alive(worker.handle)


def test_a_kill_takes_everything_that_the_worker_started(world: World) -> None:
    """Also if neither listens to anything else."""
    engine = world.engine(world.module(_DEAF + _WITH_CHILD + _WAITS))
    worker = world.start(engine)
    pid, child = worker.said("pid"), worker.said("child")
    engine.kill(worker.handle)
    assert not engine.is_alive(worker.handle)
    assert worker.code() == -signal.SIGKILL
    eventually(lambda: not is_running(pid) and not is_running(child), "worker and child are gone", _PATIENCE_S)
    assert len(worker.codes) == 1


def test_processes_that_a_worker_leaves_go_with_it(world: World) -> None:
    """They do not outlive it for long."""
    worker = world.run(_WITH_CHILD)
    assert worker.code() == 0
    child = worker.said("child")
    eventually(lambda: not is_running(child), "the child is gone", _PATIENCE_S)


def test_workers_are_found_after_a_restart(world: World) -> None:
    """By their specs, the oldest first, and those below the folder alone; one that has ended is not among them."""
    module = world.module(_WAITS)
    former, later = world.engine(module), world.engine(module)
    first, second = world.start(former), world.start(former)
    pids = [first.said("pid"), second.said("pid")]
    assert later.find(world.jobs) == [(one.launch.spec_path, one.handle) for one in (first, second)]
    assert later.find(first.folder) == [(first.launch.spec_path, first.handle)]
    stored = WorkerHandle(str(second.handle))
    assert later.is_alive(stored)
    assert not later.is_waiting(stored)
    later.kill(stored)
    eventually(lambda: not later.is_alive(stored), "the later one knows", _PATIENCE_S)
    second.code()
    later.terminate(first.handle)
    first.code()
    eventually(lambda: not later.is_alive(first.handle), "the later one knows", _PATIENCE_S)
    assert later.find(world.jobs) == []
    assert not any(map(is_running, pids))


def test_a_later_backend_keeps_the_log_of_a_worker_that_it_found(world: World) -> None:
    """And learns its end."""
    module = world.module(_WAITS.replace("signal.pause()", "print('last words'); signal.pause()"))
    worker = world.start(world.engine(module))
    pid, later = worker.said("pid"), world.engine(module)
    assert later.is_alive(worker.handle)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not later.is_alive(worker.handle), "it is gone", _PATIENCE_S)
    worker.code()
    eventually(lambda: "last words" in worker.launch.log_path.read_text(), "the log is kept", _PATIENCE_S)


def test_a_worker_of_another_engine_is_left_alone(world: World) -> None:
    """As after a start with another ``--engine``."""
    engine = world.engine("any")
    for text in ("process:1:boot:x:1", "ray:arkor-job_unknown-1", "other"):
        stranger = WorkerHandle(text)
        assert not engine.is_alive(stranger)
        assert not engine.is_waiting(stranger)
        assert engine.held_bytes(stranger) == 0
        engine.terminate(stranger)
        engine.kill(stranger)


def test_a_start_that_fails_is_an_error_and_no_end_is_told(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """On processes without an interpreter, on Ray without a head, which says more: another try is worth it."""
    engine, launch, codes = world.engine("any"), world.launch(), list[int | None]()
    if world.kind == "process":
        monkeypatch.setattr("sys.executable", str(tmp_path / "gone"))
        with pytest.raises(OSError, match="cannot be started again") as raised:
            engine.start(launch, codes.append)
        assert raised.value.errno == errno.ENOENT
    else:
        engine = RayEngine(RayJobs(f"http://127.0.0.1:{free_port()}", {}), "any")
        with pytest.raises(EngineAway, match=r"Ray does not answer at http://127\.0\.0\.1"):
            engine.start(launch, codes.append)
    assert codes == []


def test_many_workers_end_each_with_its_own_code(world: World) -> None:
    """None is told another's end."""
    engine = world.engine(world.module("sys.exit(int(folder.name.rpartition(' ')[2]) % 100)"))
    workers = [world.start(engine) for _ in range(5)]
    wanted = [int(worker.folder.name.rpartition(" ")[2]) % 100 for worker in workers]
    assert [worker.code() for worker in workers] == wanted
    assert all(len(worker.codes) == 1 for worker in workers)


def test_a_cluster_with_a_token_takes_it_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The right one works; with another one, or without, a backend says so at its start."""
    require_ray()
    token = tmp_path / "token"
    token.write_text("0123456789abcdef" * 4)
    right = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with ray_cluster({"PYTHONPATH": f"{tmp_path}:{ROOT}", "HOME": str(tmp_path), **right}) as cluster:
        with pytest.raises(LocalBackendError, match="wants a token"):
            connect(cluster.address)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
        with pytest.raises(LocalBackendError, match="refuses the token"):
            connect(cluster.address)
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))
        world = World("ray", tmp_path, None)
        engine = RayEngine(connect(cluster.address), world.module("sys.exit(7)"), look_s=_LOOK_S)
        assert world.start(engine).code() == 7
        eventually(lambda: engine._watcher is None, "the job is removed, which needs the cluster", _PATIENCE_S)
