"""A trainer that pauses, unpauses and resumes its job: against a stand-in, and with a real backend."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from arkor import (
    Aborted,
    ConfigError,
    Conflict,
    ConnectionFailed,
    Event,
    HuggingFaceDataset,
    ResumedFrom,
    Trainer,
    TrainingLogEvent,
    TrainingPausedEvent,
    UnsupportedByBackend,
    WaitTimeout,
)
from arkor.http import abort
from tests.support.backend import BackendProcess
from tests.support.cloud import Cloud
from tests.support.contract import Answer, Late
from tests.support.events import PLAN, completed, failed, log, started
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import QUICK, Told, Waiting, make_trainer

RESUME = "/v1/jobs/*/resume"
FAILS: list[Mapping[str, Any]] = [started(), log(1, 2.5), failed("boom")]
LEAVING = Answer(status=503, body={"error": "The worker is about to leave"}, headers={"Retry-After": "0"})


@pytest.fixture(autouse=True)
def _watchers_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watcher without work leave after a tenth of a second."""
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)


@pytest.fixture
def self_hosted(cloud: Cloud) -> Cloud:
    """A stand-in for a backend that pauses and resumes jobs, and whose jobs fail."""
    cloud.features = {"pause-jobs", "resume-jobs"}
    cloud.plan = FAILS
    return cloud


def ended(cloud: Cloud, told: Told | None = None, **settings: Any) -> Trainer:
    """Return a trainer whose job has failed; a job that goes on from it completes."""
    trainer = make_trainer(cloud, told, **settings)
    assert trainer.wait().status == "failed"
    cloud.plan = list(PLAN)
    return trainer


# Pausing


def test_a_trainer_pauses_and_unpauses_its_job(self_hosted: Cloud) -> None:
    """Before the start there is nothing to pause."""
    trainer = make_trainer(self_hosted)
    trainer.pause()
    trainer.unpause()
    assert self_hosted.requests == []
    job_id = trainer.start().id
    trainer.pause()
    assert self_hosted.jobs[job_id]["status"] == "paused"
    found = make_trainer(self_hosted).find_running()
    assert found is not None
    assert found.job is not None
    assert (found.job.id, found.job.status) == (job_id, "paused")
    found.unpause()
    assert self_hosted.jobs[job_id]["status"] == "queued"
    with pytest.raises(Conflict, match="queued, not paused"):
        trainer.unpause()


def test_a_wait_that_is_broken_off_says_that_the_job_is_paused(self_hosted: Cloud) -> None:
    """And how it goes on."""
    self_hosted.plan = [started(), {"type": "training.paused", "reason": "it was paused by a person", "step": 1}]
    trainer = make_trainer(self_hosted)

    def stop(event: Event) -> None:
        if isinstance(event, TrainingPausedEvent):
            stopped.set()

    stopped = threading.Event()
    follower = Trainer.attach(trainer.start().id, backend=self_hosted.url, abort_event=stopped)
    with pytest.raises(Aborted, match=r"Job job_1 is paused: unpause\(\) lets it go on; cancel\(\) stops it\.$"):
        follower.wait(on_event=stop)


# Resuming


def test_a_failed_job_is_resumed_by_a_new_trainer(self_hosted: Cloud) -> None:
    """It follows the new job with the same callbacks; the first trainer stays with its own job."""
    told = Told()
    trainer = ended(self_hosted, told)
    new = trainer.resume()
    assert new is trainer.resume()
    assert new.job is not None
    assert (new.job.id, new.job.resumed_from) == ("job_2", ResumedFrom("job_1", 2))
    assert new.wait(check=True).job.id == "job_2"
    assert told.names[-1] == ("completed", None)
    assert trainer.wait().job.id == "job_1"
    assert len(self_hosted.calls("POST", RESUME)) == 1


def test_an_attached_trainer_resumes_at_once(self_hosted: Cloud, project: Path) -> None:
    """It need not be followed first; the new trainer has its options, but writes no file of its own."""
    job_id = ended(self_hosted).wait().job.id
    stopped = threading.Event()
    trainer = Trainer.attach(job_id, backend=self_hosted.url, remember="job.json", reconnect=QUICK, abort_event=stopped)
    new = trainer.resume()
    assert (new.backend, new.name) == (self_hosted.url, "run")
    assert not (project / "job.json").exists()
    stopped.set()
    with pytest.raises(Aborted):
        new.wait()
    stopped.clear()
    assert new.wait(check=True).status == "completed"


def test_a_resumed_job_that_fails_is_resumed_in_its_turn(self_hosted: Cloud) -> None:
    """Each trainer resumes its own job."""
    trainer = ended(self_hosted)
    self_hosted.plan = FAILS
    second = trainer.resume()
    assert second.wait().status == "failed"
    self_hosted.plan = [completed()]
    third = second.resume()
    assert third.wait(check=True).job.resumed_from == ResumedFrom("job_2", 2)


def test_a_job_is_resumed_inside_the_callback_of_its_end(self_hosted: Cloud) -> None:
    """The wait that calls it does not hold what a resumption needs."""
    resumed: list[Trainer] = []
    told = Told(lambda name, _: resumed.append(trainer.resume()) if name == "failed" else None)
    trainer = make_trainer(self_hosted, told)
    assert trainer.wait().status == "failed"
    assert resumed[0].job is not None
    assert resumed[0].job.id == "job_2"


def test_a_job_that_cannot_be_resumed_says_why(self_hosted: Cloud) -> None:
    """Not started, not ended, or of a backend that resumes none; the trainer is as before."""
    trainer = make_trainer(self_hosted)
    with pytest.raises(RuntimeError, match="too early"):
        trainer.resume()
    trainer.start()
    with pytest.raises(Conflict, match="queued"):
        trainer.resume()
    assert trainer.wait().status == "failed"
    self_hosted.features = {"pause-jobs"}
    follower = Trainer.attach("job_1", backend=self_hosted.url)
    with pytest.raises(UnsupportedByBackend, match="resuming jobs"):
        follower.resume()
    self_hosted.features = {"resume-jobs"}
    assert trainer.resume().job is not None


@pytest.mark.parametrize("timeout", ["1", True, math.nan])
def test_a_timeout_that_is_no_number_is_refused(self_hosted: Cloud, timeout: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="timeout"):
        Trainer.attach("job_1", backend=self_hosted.url).resume(timeout=timeout)
    assert self_hosted.requests == []


def test_a_worker_that_leaves_late_is_waited_for(self_hosted: Cloud) -> None:
    """Longer than the few tries of a request."""
    trainer = ended(self_hosted)
    self_hosted.answer("POST", RESUME, *[LEAVING] * 7)
    assert trainer.resume().wait().job.id == "job_2"
    assert len({item.headers["idempotency-key"] for item in self_hosted.calls("POST", RESUME)}) == 1


def test_the_timeout_ends_a_resumption(self_hosted: Cloud) -> None:
    """Whatever the backend does meanwhile; a later call finds the job."""
    trainer = ended(self_hosted)
    self_hosted.answer("POST", RESUME, Late(gate=threading.Event()))
    with pytest.raises(WaitTimeout, match=r"^Not finished after 0\.3 s\. .*job_1"):
        trainer.resume(timeout=0.3)
    assert trainer.resume().wait(check=True).job.id == "job_2"
    assert list(self_hosted.jobs) == ["job_1", "job_2"]


def test_a_backend_that_is_away_is_an_error(self_hosted: Cloud) -> None:
    """As for a job that is to be submitted."""
    trainer = ended(self_hosted)
    with self_hosted.away(), pytest.raises(ConnectionFailed):
        trainer.resume()
    assert trainer.resume().job is not None


@pytest.mark.parametrize("answer", ["held", "lost", "leaving"])
def test_an_abort_ends_a_resumption_at_once(self_hosted: Cloud, answer: str) -> None:
    """In a request, and between two; calling again finds the job by the same key, or makes it."""
    stopped = threading.Event()
    trainer = ended(self_hosted, abort_event=stopped)
    answers: dict[str, Answer | Late] = {
        "held": Answer(gate=threading.Event()),
        "lost": Late(gate=threading.Event()),
        "leaving": Answer(status=503, body={"error": "Leaving"}, headers={"Retry-After": "9"}),
    }
    self_hosted.answer("POST", RESUME, answers[answer])
    waiting = Waiting(trainer.resume)
    eventually(lambda: self_hosted.calls("POST", RESUME), "the request is under way")
    stopped.set()
    outcome = waiting.outcome()
    assert isinstance(outcome, Aborted)
    assert str(outcome).endswith("A job that goes on from job job_1 may have been made: resume() finds it.")
    with pytest.raises(Aborted, match="may have been made"):
        trainer.resume()
    stopped.clear()
    assert trainer.resume().wait(check=True).job.id == "job_2"
    assert list(self_hosted.jobs) == ["job_1", "job_2"]


def test_no_time_sends_nothing(self_hosted: Cloud) -> None:
    """And the error says that nothing was resumed."""
    trainer = ended(self_hosted)
    with pytest.raises(WaitTimeout, match=r"Job job_1 was not resumed\.$"):
        trainer.resume(timeout=0)
    assert not self_hosted.calls("POST", RESUME)


def test_threads_that_resume_one_trainer_make_one_job(self_hosted: Cloud) -> None:
    """And get one trainer."""
    trainer = ended(self_hosted)
    resumed = [Waiting(trainer.resume) for _ in range(6)]
    assert len({id(one.outcome(15)) for one in resumed}) == 1
    assert list(self_hosted.jobs) == ["job_1", "job_2"]


# With a real backend


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend whose workers are scripted."""
    running = BackendProcess(tmp_path_factory.mktemp("backend")).start()
    yield running
    running.close()


def trainer_of(backend: BackendProcess, name: str, **settings: Any) -> Trainer:
    """Return a trainer whose job behaves as its name says, and saves a checkpoint every two steps."""
    model = str(write_tiny_model(backend.home / "model"))
    rows = HuggingFaceDataset("owner/rows")
    return Trainer(name=name, model=model, dataset=rows, save_steps=2, backend=backend.url, reconnect=QUICK, **settings)


def test_a_job_is_paused_and_goes_on_where_it_was(backend: BackendProcess) -> None:
    """The wait goes on through the pause, and each step is told once."""
    told, heard = Told(), list[Event]()
    trainer = trainer_of(backend, "gated:4", callbacks=told.callbacks())
    job_id = trainer.start().id
    backend.allow(job_id, 3)
    waiting = Waiting(lambda: trainer.wait(check=True, on_event=heard.append))
    eventually(lambda: ("log", 3) in told.names, "step 3 is told")
    trainer.pause()
    eventually(lambda: trainer.job is not None and trainer.job.status == "paused", "the trainer knows of the pause")
    assert trainer.job is not None
    assert trainer.job.pause_reason == "it was paused by a person"
    assert backend.checkpoint(job_id) == 3
    trainer.unpause()
    backend.allow(job_id, 4)
    result = waiting.outcome(30)
    assert (result.status, result.job.pause_reason) == ("completed", None)
    assert [event.step for event in heard if isinstance(event, TrainingLogEvent)] == [1, 2, 3, 4]
    assert [event.type for event in heard if "pause" in event.type] == ["training.paused", "training.unpaused"]


def test_a_failed_job_goes_on_as_a_new_one(backend: BackendProcess) -> None:
    """From its last checkpoint; the new job's events begin there."""
    told = Told()
    trainer = trainer_of(backend, "stumble:fail@2/4", callbacks=told.callbacks())
    assert trainer.wait().status == "failed"
    new = trainer.resume()
    result = new.wait(check=True)
    assert result.job.resumed_from == ResumedFrom(trainer.wait().job.id, 2)
    assert [step for name, step in told.names if name == "log"] == [1, 2, 3, 4]
    with pytest.raises(Conflict, match="only a job that failed or was cancelled is resumed"):
        new.resume()


def test_a_cancelled_job_goes_on_in_one_line(backend: BackendProcess) -> None:
    """The worker of the cancelled job may still be there when that is asked for."""
    trainer = trainer_of(backend, "gated:4")
    job_id = trainer.start().id
    backend.allow(job_id, 3)
    eventually(lambda: backend.checkpoint(job_id) == 2, "a checkpoint is saved")
    trainer.cancel()
    assert trainer.wait().status == "cancelled"
    new = Trainer.attach(job_id, backend=backend.url).resume()
    assert new.job is not None
    backend.allow(new.job.id, 4)
    assert new.wait(check=True).job.resumed_from == ResumedFrom(job_id, 2)


def test_a_job_without_a_checkpoint_is_not_resumed(backend: BackendProcess) -> None:
    """The error says to start a new one."""
    trainer = trainer_of(backend, "stumble:fail@1/4")
    assert trainer.wait().status == "failed"
    with pytest.raises(Conflict, match="left no whole checkpoint to go on from: start a new job"):
        trainer.resume()
