"""Processes: the right one is killed, and no other.

``tests/integration/backend/test_engines.py`` has what every engine does.
"""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from arkor.backend.processes.child_engine import ProcessEngine
from arkor.backend.processes.engine import Launch, WorkerHandle
from tests.support.backend import is_running
from tests.support.eventually import eventually

_PARENT = """
import pathlib, signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
path = pathlib.Path(sys.argv[1])
path.with_suffix(".new").write_text(str(child.pid))
path.with_suffix(".new").replace(path)
"""


def _launch(spec: Path, log: Path) -> Launch:
    return Launch(name="job_1-1", spec_path=spec, log_path=log)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that a test writes, to be run as the worker."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path / "scripted_module.py"


def test_a_process_that_only_has_the_same_id_is_spared(module: Path, log: Path, tmp_path: Path) -> None:
    """Ids are used again: who was created at another time is somebody else."""
    module.write_text(_PARENT + "signal.pause()\n")
    engine, codes = ProcessEngine(module.stem), list[int | None]()
    handle = engine.start(_launch(tmp_path / "child", log), codes.append)
    eventually((tmp_path / "child").exists, "the process runs")
    stranger = WorkerHandle(f"{handle.text}0")
    assert not engine.is_alive(stranger)
    engine.terminate(stranger)
    engine.kill(stranger)
    assert engine.is_alive(handle)
    engine.terminate(handle)
    assert eventually(lambda: codes, "the exit is told") == [-15]


def test_a_step_of_the_wall_clock_changes_nothing(
    module: Path, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is asked and killed all the same, by the backend that started it and by a later one."""
    module.write_text(
        "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + _PARENT + "signal.pause()"
    )
    engine, later, codes = ProcessEngine(module.stem), ProcessEngine(module.stem), list[int | None]()
    handle = engine.start(_launch(tmp_path / "child", log), codes.append)
    eventually((tmp_path / "child").exists, "the process runs")
    real = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda self: real(self) - 3600)
    for one in (engine, later):
        one.terminate(handle)
        assert one.is_alive(handle)
    later.kill(handle)
    assert not later.is_alive(handle)
    assert eventually(lambda: codes, "the exit is told") == [-9]
    assert not engine.is_alive(handle)


def test_a_worker_that_nobody_can_wait_for_is_not_left(
    module: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine has no thread left: the start fails, and the process is gone."""
    module.write_text("import signal; signal.pause()")
    started = list[int]()
    popen = subprocess.Popen

    def note(*arguments: Any, **how: Any) -> subprocess.Popen[bytes]:
        process: subprocess.Popen[bytes] = popen(*arguments, **how)
        started.append(process.pid)
        return process

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(subprocess, "Popen", note)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(OSError, match="can't start new thread"):
        ProcessEngine(module.stem).start(_launch(log, log), lambda _: None)
    assert not is_running(started[0])


def test_a_worker_is_found_by_its_spec(module: Path, log: Path, tmp_path: Path) -> None:
    """By any backend, without a note of its process; neither one of another folder, nor a forked child."""
    module.write_text("import os, signal; os.fork(); print('ready', flush=True); signal.pause()")
    engine = ProcessEngine(module.stem)
    ours, theirs = (folder / "job_1" / "spec.json" for folder in (tmp_path / "ours", tmp_path / "theirs"))
    for spec in (ours, theirs):
        spec.parent.mkdir(parents=True)
    handles = [engine.start(_launch(spec, log), lambda _: None) for spec in (ours, theirs)]
    eventually(lambda: log.read_text().count("ready") == 4, "all run")
    another = ProcessEngine(module.stem)
    assert another.find(tmp_path / "ours") == [(ours, handles[0])]
    for handle in handles:
        engine.kill(handle)
    assert another.find(tmp_path) == []
