"""Trainings that Studio starts: their output, their end, and who cancels what."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from arkor.errors import ConnectionFailed
from arkor.serving.refusal import Refusal
from arkor.studio.app import create_app
from arkor.studio.runs import Runs
from arkor.studio.state import LOG_CAP, Studio
from tests.support.cloud import Cloud
from tests.support.contract import Late, Stream
from tests.support.eventually import eventually
from tests.support.studio import TIMEOUT_S, StudioProcess, write_entry

# Swallows Ctrl-C, and tells when it does.
STUBBORN = """
import signal
signal.signal(signal.SIGINT, lambda *_: print("not now", flush=True))
"""
# Prints what the command prints of another job, and forks processes that outlive the start.
MISLEADING = """
import os, subprocess, sys, threading
print("Started job job_99", flush=True)
print("Following job job_98", flush=True)
subprocess.Popen([sys.executable, "-m", "arkor.cli", "start", "other.py", "--detach"]).wait()
if not os.fork():
    threading.Event().wait()
"""
# Leaves a child that nobody waits for, then goes on to the trainer.
WITH_CHILD = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
print("child", child.pid, flush=True)
"""


@pytest.fixture
def studio(arkor_cloud: Cloud) -> Iterator[StudioProcess]:
    """A Studio in a project whose jobs go on until somebody stops them."""
    arkor_cloud.stream(*[Stream(frames=[], gate=threading.Event()) for _ in range(3)])
    write_entry()
    with StudioProcess() as running:
        yield running


def _begin(studio: StudioProcess, until: str) -> str:
    """Start a run, and return its output up to and including a text."""
    with studio.post("/api/train", stream=True) as answer:
        assert answer.status_code == 200, answer.text
        return _read_until(answer, until)


def _read_until(answer: requests.Response, until: str) -> str:
    read = ""
    while until not in read:
        piece = answer.raw.read1(65536).decode()
        assert piece, f"it ended without {until!r}: {read}"
        read += piece
    return read


def _log(studio: StudioProcess) -> str:
    """Return the whole output of the run, once it has ended."""
    return studio.get("/api/train/log").text


def _has_left(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_run_streams_what_the_command_prints_as_it_comes(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """Who asks later gets it from its first byte; who leaves does not end it; one runs at a time."""
    write_entry("import sys; print('caf\u00e9', flush=True); print('to the other stream', file=sys.stderr, flush=True)")
    assert _begin(studio, "Started job job_1\n") == "caf\u00e9\nto the other stream\nStarted job job_1\n"
    state = studio.get("/api/train").json()
    assert state["running"] is True
    assert {key: state["run"][key] for key in ("id", "dryRun", "jobId", "exitCode", "stopping")} == {
        "id": 1,
        "dryRun": False,
        "jobId": "job_1",
        "exitCode": None,
        "stopping": False,
    }
    refused = studio.post("/api/train")
    assert (refused.status_code, refused.json()["error"].startswith("A training runs already")) == (409, True)
    with studio.get("/api/train/log", stream=True) as first, studio.get("/api/train/log", stream=True) as second:
        assert _read_until(first, "job_1\n") == _read_until(second, "job_1\n")
        arkor_cloud.settle("completed")
        assert studio.post("/api/train/stop").status_code == 202
        assert _read_until(first, "[exit ") == _read_until(second, "[exit ")


def test_who_leaves_the_log_makes_room_for_others(studio: StudioProcess) -> None:
    """A closed page is noticed while the run is silent."""
    _begin(studio, "Started job job_1\n")
    for _ in range(LOG_CAP):
        studio.get("/api/train/log", stream=True).close()

    def is_let_in() -> bool:
        with studio.get("/api/train/log", stream=True) as answer:
            return answer.status_code == 200

    eventually(is_let_in, "there is room")
    eventually(is_let_in, "there is still room")


def test_a_dry_run_is_one(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """The command is told so; the next run is not."""
    arkor_cloud.stream(Stream())
    answer = studio.post("/api/train", {"dryRun": True}, stream=True)
    _read_until(answer, "Started job job_1\n")
    assert arkor_cloud.jobs["job_1"]["config"]["dryRun"] is True
    assert studio.get("/api/train").json()["run"]["dryRun"] is True


def test_stop_cancels_the_job(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """The command ends as with Ctrl-C, and another run may begin."""
    _begin(studio, "Started job job_1\n")
    answer = studio.post("/api/train/stop")
    assert (answer.status_code, answer.json()) == (202, {"stopping": True})
    log = _log(studio)  # Ctrl-C may come at any moment: Python may also say that a socket was dropped
    assert "\nInterrupted. Asked the backend to stop job job_1.\n" in log
    assert log.endswith("\n[exit 130]\n")
    assert arkor_cloud.jobs["job_1"]["status"] == "cancelled"
    run = studio.get("/api/train").json()["run"]
    assert (run["exitCode"], run["stopping"]) == (130, True)
    assert studio.post("/api/train/stop").status_code == 409
    _begin(studio, "Started job job_2\n")
    assert studio.get("/api/train").json()["run"]["id"] == 2


def test_stop_cancels_a_job_whose_id_is_not_known_yet(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """The submission under way is waited for, however often Stop is pressed."""
    gate = threading.Event()
    arkor_cloud.answer("POST", "/v1/jobs", Late(gate=gate))
    with studio.post("/api/train", stream=True):
        eventually(lambda: arkor_cloud.calls("POST", "/v1/jobs"), "the job is submitted")
        for _ in range(3):
            assert studio.post("/api/train/stop").status_code == 202
        assert studio.get("/api/train").json()["run"]["jobId"] is None
        gate.set()
        assert "[exit 130]" in _log(studio)
    assert arkor_cloud.jobs["job_1"]["status"] == "cancelled"


def test_a_job_that_is_being_stopped_is_cancelled_though_studio_ends(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """Whoever presses Stop and then Ctrl-C means both."""
    gate = threading.Event()
    _begin(studio, "Started job job_1\n")
    arkor_cloud.answer("POST", "/v1/jobs/*/cancel", Late(gate=gate))
    assert studio.post("/api/train/stop").status_code == 202
    eventually(lambda: arkor_cloud.calls("POST", "/v1/jobs/*/cancel"), "the command cancels")
    studio.process.send_signal(signal.SIGINT)
    eventually(lambda: not (Path.home() / ".arkor" / "studio-token").exists(), "Studio ends")
    assert studio.process.poll() is None
    gate.set()
    assert studio.process.wait(TIMEOUT_S) == 130
    assert "goes on" not in studio.shown


def test_stop_before_anything_was_submitted_submits_nothing(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """The command is still importing the user's code."""
    write_entry("import threading; print('importing', flush=True); threading.Event().wait()")
    _begin(studio, "importing\n")
    assert studio.post("/api/train/stop").status_code == 202
    assert "[exit 130]" in _log(studio)
    assert arkor_cloud.calls("POST", "/v1/jobs") == []


def test_a_broken_entry_fails_in_the_log(studio: StudioProcess) -> None:
    """With file and line, as in a terminal."""
    write_entry("1 / 0")
    log = studio.post("/api/train").text
    assert "src/arkor/index.py:2: ZeroDivisionError: division by zero (--debug" in log
    assert log.endswith("\n[exit 2]\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_children_and_leaves_the_job(
    studio: StudioProcess, arkor_cloud: Cloud, number: signal.Signals
) -> None:
    """The exit code is 128 and the signal's number; the user is told how to follow the job."""
    write_entry(WITH_CHILD)
    _begin(studio, "Started job job_1\n")
    children = studio.children()
    assert len(children) == 2
    assert studio.end(number) == 128 + number
    assert "Job job_1 keeps running. Follow it with: arkor attach job_1\n" in studio.shown
    eventually(lambda: all(map(_has_left, children)), "the children have left")
    assert arkor_cloud.jobs["job_1"]["status"] == "queued"
    assert not (Path.home() / ".arkor" / "studio-token").exists()


def test_the_children_end_with_a_server_that_is_killed(studio: StudioProcess, arkor_cloud: Cloud) -> None:
    """Nobody told them: the end of their standard input does."""
    _begin(studio, "Started job job_1\n")
    children = studio.children()
    studio.kill()
    eventually(lambda: all(map(_has_left, children)), "the children have left")
    assert arkor_cloud.calls("POST", "/v1/jobs/*/cancel") == []


def test_a_second_signal_is_at_once(studio: StudioProcess) -> None:
    """It does not wait for a child that takes its time, and leaves none behind."""
    write_entry("import signal, threading\nsignal.signal(signal.SIGTERM, lambda *_: print('not now', flush=True))")
    _begin(studio, "Started job job_1\n")
    children = studio.children()
    studio.process.send_signal(signal.SIGINT)
    eventually(lambda: not (Path.home() / ".arkor" / "studio-token").exists(), "the first one was heard")
    assert studio.end(signal.SIGINT) == 130
    eventually(lambda: all(map(_has_left, children)), "the children have left")


@pytest.fixture
def endless(arkor_cloud: Cloud) -> Cloud:
    """A cloud whose first job goes on until the test ends."""
    arkor_cloud.stream(Stream(frames=[], gate=threading.Event()))
    return arkor_cloud


@pytest.mark.usefixtures("endless")
def test_a_run_that_does_not_stop_is_ended_and_its_job_cancelled(project: Path) -> None:
    """By the server itself, by the id that the command has handed over."""
    write_entry(STUBBORN)
    cancelled: list[str] = []
    runs = Runs(project, local=False, cancel=cancelled.append, patience_s=1.0)
    run = runs.start(dry_run=False)
    output = run.log.follow(lambda: False)
    _followed(output, "Started job job_1\n")
    runs.stop()
    assert _followed(output, "not now\n") == "not now\n"
    runs.stop()  # a second Ctrl-C would make the command leave a submission under way
    assert run.wait(TIMEOUT_S)
    assert run.exit_code == 137
    eventually(lambda: cancelled == ["job_1"], "the job was cancelled")
    assert _followed(output, "[exit 137]") == "[exit 137]\n"


def test_what_the_users_code_prints_and_forks_is_not_taken_for_the_job(project: Path, endless: Cloud) -> None:
    """The id comes through a pipe that the user's code does not know."""
    entry = write_entry()
    (project / "other.py").write_text(entry.read_text().replace("studio-run", "other"))
    write_entry(MISLEADING)
    runs = Runs(project, local=False, cancel=str)
    run = runs.start(dry_run=False)
    _followed(run.log.follow(lambda: False), "Started job job_2\n")
    assert [job["name"] for job in endless.jobs.values()] == ["other", "studio-run"]
    assert run.job_id == "job_2"
    run.kill()
    assert run.wait(TIMEOUT_S)
    assert run.job_id == "job_2"


def test_a_run_that_submits_nothing_has_no_job(project: Path) -> None:
    """Whatever it says."""
    write_entry("print('Started job job_7', flush=True); 1 / 0")
    run = Runs(project, local=False, cancel=str).start(dry_run=False)
    assert run.wait(TIMEOUT_S)
    assert (run.exit_code, run.job_id) == (2, None)


def test_a_job_that_the_trainer_remembers_is_known_too(project: Path, endless: Cloud) -> None:
    """A trainer with ``remember=`` goes on with it."""
    entry = write_entry()
    entry.write_text(entry.read_text().replace("name=", "remember='place.json', name="))
    runs = Runs(project, local=False, cancel=str)
    first = runs.start(dry_run=False)
    eventually(lambda: first.job_id == "job_1", "the job is known")
    first.kill()
    assert first.wait(TIMEOUT_S)
    endless.stream(Stream(frames=[], gate=threading.Event()))
    second = runs.start(dry_run=False)
    _followed(second.log.follow(lambda: False), "Following job job_1\n")
    assert second.job_id == "job_1"
    second.kill()
    assert second.wait(TIMEOUT_S)


@pytest.mark.usefixtures("endless")
def test_a_job_that_cannot_be_cancelled_is_told_of(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    """In the terminal: the page has its run ended."""
    write_entry(STUBBORN)

    def cancel(_: str) -> None:
        raise ConnectionFailed("Nobody answers.")

    runs = Runs(project, local=False, cancel=cancel, patience_s=0.1)
    run = runs.start(dry_run=False)
    _followed(run.log.follow(lambda: False), "Started job job_1\n")
    runs.stop()
    eventually(lambda: "Job job_1 could not be cancelled: Nobody answers." in caplog.text, "it is told")


def test_a_run_that_cannot_be_started_leaves_no_pipe(project: Path) -> None:
    """It is a 500 with the reason."""
    before = psutil.Process().num_fds()
    with pytest.raises(Refusal, match="No such file or directory"):
        Runs(project / "nosuch", local=False, cancel=str).start(dry_run=False)
    assert psutil.Process().num_fds() <= before


def test_nothing_starts_while_studio_stops(project: Path) -> None:
    """A request that came just before would leave a process behind."""
    runs = Runs(project, local=False, cancel=str)
    assert runs.close() is None
    with pytest.raises(Refusal, match="runs already"):
        runs.start(dry_run=False)


def test_the_log_has_a_limit_of_readers(project: Path) -> None:
    """Each keeps a thread of the server; who leaves makes room."""
    write_entry("import threading; print('importing', flush=True); threading.Event().wait()")
    studio = Studio.of(project, local=False)
    studio.log_slots = threading.Semaphore(1)
    app, headers = create_app(studio), {"X-Arkor-Studio-Token": studio.token}
    first = app.test_client().post("/api/train", json={}, headers=headers)
    assert app.test_client().get("/api/train/log", headers=headers).status_code == 503
    first.close()
    second = app.test_client().get("/api/train/log", headers=headers)
    assert second.status_code == 200
    second.close()
    assert studio.runs.close() is None
    assert studio.runs.state()["running"] is False


def _followed(output: Iterator[bytes], until: str) -> str:
    read = ""
    while until not in read:
        read += next(output).decode()
    return read
