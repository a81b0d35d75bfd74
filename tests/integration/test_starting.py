"""Where a trainer's job comes from: what breaks a start off, and going on with a job that is remembered on disk."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor import (
    Aborted,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    LocalDataset,
    NotFound,
    Trainer,
    TrainingLogEvent,
    WaitTimeout,
)
from arkor.http import abort
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import PLAN, frame
from tests.support.eventually import eventually
from tests.support.waiting import QUICK, Told, Waiting, make_trainer

EVENTS = [frame(number, event) for number, event in enumerate(PLAN, start=1)]
BODY = b"".join(EVENTS)


@pytest.fixture(autouse=True)
def _watchers_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watcher without work leave after a tenth of a second."""
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)


class StopsAt(Told):
    """Callbacks that end the wait at the n-th event, as a process that is killed would, but for its own clean-up."""

    def __init__(self, count: int) -> None:
        super().__init__(lambda *_: self._stop(count))

    def _stop(self, count: int) -> None:
        if len(self.contexts) == count:
            raise KeyboardInterrupt


def posts(cloud: Cloud) -> int:
    """How many jobs were submitted."""
    return len(cloud.calls("POST", "/v1/jobs"))


# What breaks a start off

HOLDS: list[Any] = [
    pytest.param("POST", "/v1/auth/anonymous", id="identity"),
    pytest.param("POST", "/v1/projects", id="project"),
    pytest.param("GET", "/v1/capabilities", id="capabilities"),
    pytest.param("GET", "/v1/models", id="model"),
    pytest.param("PUT", "/v1/datasets/*", id="upload"),
]


@pytest.fixture
def rows(project: Path) -> LocalDataset:
    """A file of rows in the project."""
    row = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    (project / "rows.jsonl").write_text(json.dumps(row) + "\n")
    return LocalDataset("rows.jsonl")


@pytest.mark.parametrize(("method", "path"), HOLDS)
def test_an_abort_before_the_job_is_submitted_is_felt_at_once_and_makes_no_job(
    cloud: Cloud, rows: LocalDataset, method: str, path: str
) -> None:
    """Wherever the start is blocked; afterwards the same trainer runs to its end."""
    cloud.features = {"models", "datasets"}
    cloud.answer("GET", "/v1/models", *[Answer(body={"models": []})] * (path != "/v1/models"))
    cloud.answer("GET", "/v1/datasets/*", Answer(status=404))
    cloud.answer(method, path, Answer(gate=threading.Event()))
    abort_event = threading.Event()
    trainer = make_trainer(cloud, dataset=rows, abort_event=abort_event)
    waiting = Waiting(trainer.wait)
    eventually(lambda: cloud.calls(method, path), "the start is blocked")
    abort_event.set()
    outcome = waiting.outcome()
    assert isinstance(outcome, Aborted)
    assert str(outcome) == "Stopped waiting: the abort event is set. No job was submitted."
    assert (trainer.job, trainer.was_sent, posts(cloud)) == (None, False, 0)
    abort_event.clear()
    cloud.answer("GET", "/v1/models", Answer(body={"models": []}))
    cloud.answer("GET", "/v1/datasets/*", Answer(status=404))
    cloud.answer("PUT", "/v1/datasets/*", Answer(body={}))
    assert trainer.wait(check=True).status == "completed"
    assert posts(cloud) == 1


@pytest.mark.parametrize(("method", "path"), HOLDS[:3])
def test_the_timeout_of_a_wait_bounds_its_start_too(cloud: Cloud, method: str, path: str) -> None:
    """It is a deadline for the whole wait."""
    cloud.answer(method, path, Answer(gate=threading.Event()))
    trainer = make_trainer(cloud)
    with pytest.raises(WaitTimeout, match=r"Not finished after 0\.2 s\. No job was submitted\.$"):
        trainer.wait(timeout=0.2)
    assert (trainer.job, posts(cloud)) == (None, 0)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(Answer(status=410), id="410"),
        pytest.param(Answer(status=403), id="403"),
        pytest.param(Answer(status=500, headers={"Retry-After": "0"}), id="500"),
        pytest.param(Answer(status=429, headers={"Retry-After": "0"}), id="429"),
        pytest.param(Answer(body=b"<html>A proxy</html>"), id="page"),
    ],
)
def test_a_backend_that_does_not_say_what_it_can_do_still_trains(cloud: Cloud, answer: Answer) -> None:
    """A job that needs no more than Arkor Cloud's contract is not ended by an optional question."""
    cloud.answer("GET", "/v1/capabilities", *[answer] * 20)
    assert make_trainer(cloud).wait(check=True).status == "completed"
    assert posts(cloud) == 1


def test_a_submission_under_way_is_waited_for_beyond_the_timeout(cloud: Cloud) -> None:
    """Else there would be a job that nobody knows; the next wait follows that job."""
    gate = threading.Event()
    cloud.answer("POST", "/v1/jobs", Answer(status=201, body={"job": {"id": "job_7"}}, gate=gate))
    trainer = make_trainer(cloud)
    timeout_s = 2.0
    waiting = Waiting(lambda: trainer.wait(timeout=timeout_s))
    eventually(lambda: posts(cloud) == 1, "the submission is under way")
    with pytest.raises(AssertionError, match="still waiting"):
        waiting.outcome(timeout_s + 0.5)
    gate.set()
    outcome = waiting.outcome()
    assert isinstance(outcome, WaitTimeout)
    assert str(outcome).endswith("Job job_7 goes on: wait again to see its end; cancel() stops it.")
    assert trainer.job is not None
    assert trainer.job.id == "job_7"


def test_a_submission_that_is_put_off_can_be_broken_off(cloud: Cloud) -> None:
    """Between two tries nothing is under way."""
    cloud.answer("POST", "/v1/jobs", Answer(status=429, headers={"Retry-After": "3600"}))
    abort_event = threading.Event()
    trainer = make_trainer(cloud, abort_event=abort_event)
    waiting = Waiting(trainer.wait)
    eventually(lambda: posts(cloud) == 1, "the first try was put off")
    abort_event.set()
    assert isinstance(waiting.outcome(), Aborted)
    assert (trainer.job, posts(cloud)) == (None, 1)


def test_the_error_of_a_wait_says_what_became_of_the_job(cloud: Cloud) -> None:
    """It was found or not, goes on, or was asked to stop; a question to a model has nothing to do with it."""
    cloud.stream(*(Stream(frames=EVENTS[:1], gate=threading.Event()) for _ in range(2)))
    trainer = make_trainer(cloud)
    trainer.start()
    with pytest.raises(WaitTimeout, match=r"Job job_1 goes on: wait again to see its end; cancel\(\) stops it\.$"):
        trainer.wait(timeout=0.1)
    cloud.answer("POST", "/v1/jobs/*/cancel", Answer(body={}))
    trainer.cancel()
    with pytest.raises(WaitTimeout, match=r"The backend was asked to stop job job_1: wait again to see its end\.$"):
        trainer.wait(timeout=0.1)
    cloud.answer("GET", "/v1/jobs/*", Answer(gate=threading.Event()))
    with pytest.raises(WaitTimeout, match=r"Job job_1 was left as it is\.$"):
        Trainer.attach("job_1", backend=cloud.url).wait(timeout=0.2)
    cloud.answer("POST", "/v1/inference/chat", Answer(gate=threading.Event()))
    with pytest.raises(WaitTimeout, match=r"^Not finished after 0\.2 s\.$"):
        trainer._starter.ask("chat", base_model="m", messages=[{"role": "user", "content": "a"}], timeout=0.2)


def test_a_job_that_was_refused_is_not_said_to_be_submitted(cloud: Cloud) -> None:
    """Only the backend could have it, and it says that it has not."""
    cloud.answer("POST", "/v1/jobs", Answer(status=422))
    trainer = make_trainer(cloud)
    with pytest.raises(CloudApiError):
        trainer.wait()
    assert not trainer.was_sent


@pytest.mark.parametrize("timeout", [0, -1])
def test_no_time_starts_nothing(cloud: Cloud, timeout: float) -> None:
    """It is over before it began."""
    with pytest.raises(WaitTimeout):
        make_trainer(cloud).wait(timeout=timeout)
    assert cloud.requests == []


@pytest.mark.parametrize("timeout", ["5", True, float("nan")])
def test_a_timeout_that_is_no_number_is_refused(cloud: Cloud, timeout: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="timeout: must be a number of seconds or None"):
        make_trainer(cloud).wait(timeout=timeout)
    with pytest.raises(ConfigError, match="timeout"):
        make_trainer(cloud).events(timeout)
    assert cloud.requests == []


@pytest.mark.parametrize("timeout", [float("inf"), 1e30])
def test_a_timeout_may_be_longer_than_a_lock_can_wait(cloud: Cloud, timeout: float) -> None:
    """It never comes."""
    assert make_trainer(cloud).wait(timeout=timeout).status == "completed"


def test_a_start_in_another_thread_does_not_outlast_the_timeout(cloud: Cloud) -> None:
    """A wait does not hang on who is starting the same trainer."""
    gate = threading.Event()
    cloud.answer("POST", "/v1/projects", Answer(gate=gate, status=500))
    trainer = make_trainer(cloud)
    starting = Waiting(trainer.start)
    eventually(lambda: cloud.calls("POST", "/v1/projects"), "the start is blocked")
    with pytest.raises(WaitTimeout):
        trainer.wait(timeout=0.1)
    gate.set()
    starting.outcome()


# What is remembered


@pytest.mark.parametrize("count", range(1, len(PLAN)))
def test_another_process_goes_on_after_the_last_event_that_was_handled(cloud: Cloud, count: int) -> None:
    """With the same job; nothing is lost, nothing repeated, and the file is gone at the end."""
    first, second = StopsAt(count), Told()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(cloud, first, remember="run.json").wait()
    assert Path("run.json").exists()
    result = make_trainer(cloud, second, remember="run.json").wait()
    whole = Told()
    make_trainer(cloud, whole).wait()
    assert first.names + second.names == whole.names
    assert result.job.id == "job_1"
    assert not Path("run.json").exists()


def test_after_the_end_the_next_run_is_a_new_job(cloud: Cloud) -> None:
    """As a cron job wants it."""
    jobs = [make_trainer(cloud, remember="run.json").wait().job.id for _ in range(2)]
    assert jobs == ["job_1", "job_2"]


def test_a_server_that_begins_anew_is_recognised_in_another_process(cloud: Cloud) -> None:
    """The first id is remembered too."""
    first, second = StopsAt(3), Told()
    with pytest.raises(KeyboardInterrupt):
        make_trainer(cloud, first, remember="run.json").wait()
    cloud.stream(Stream(frames=[BODY]))
    make_trainer(cloud, second, remember="run.json").wait()
    assert len(first.names + second.names) == len(PLAN)


def test_the_place_moves_on_when_the_next_event_of_a_loop_is_asked_for(cloud: Cloud) -> None:
    """An event that is being handled may be handled again, and is never lost."""
    events = make_trainer(cloud, remember="run.json").events()
    for _ in range(3):
        next(events)
    assert json.loads(Path("run.json").read_bytes())["lastEventId"] == "2"
    events.close()  # type: ignore[attr-defined]
    assert json.loads(Path("run.json").read_bytes())["lastEventId"] == "3"


def test_an_attached_trainer_remembers_too(cloud: Cloud) -> None:
    """What the file says wins over ``after``, which the script says every time."""
    job = make_trainer(cloud).start()

    def attach(told: Told) -> Trainer:
        return Trainer.attach(
            job.id, backend=cloud.url, after="1", remember="run.json", reconnect=QUICK, callbacks=told.callbacks()
        )

    first, second = StopsAt(2), Told()
    with pytest.raises(KeyboardInterrupt):
        attach(first).wait()
    attach(second).wait()
    assert [step for name, step in first.names + second.names if name == "log"] == [1, 2, 3]
    assert not Path("run.json").exists()


def test_a_submission_whose_answer_was_lost_is_found_again_by_its_key(cloud: Cloud) -> None:
    """Where the backend knows keys, another process gets the same job."""
    cloud.features = {"idempotent-jobs"}
    cloud.answer("POST", "/v1/jobs", *[Answer(cut=0)] * 3)
    with pytest.raises(ConnectionFailed):
        make_trainer(cloud, remember="run.json").start()
    make_trainer(cloud, remember="run.json").start()
    keys = {request.headers["idempotency-key"] for request in cloud.calls("POST", "/v1/jobs")}
    assert len(keys) == 1


def test_a_refused_submission_leaves_nothing_to_remember(cloud: Cloud) -> None:
    """There is no job."""
    cloud.answer("POST", "/v1/jobs", Answer(status=400, body={"error": "no such model"}))
    with pytest.raises(Exception, match="no such model"):
        make_trainer(cloud, remember="run.json").start()
    assert not Path("run.json").exists()


@pytest.mark.parametrize(
    "other",
    [
        lambda cloud: make_trainer(cloud, name="other", remember="run.json"),
        lambda cloud: Trainer.attach("job_9", backend=cloud.url, remember="run.json"),
    ],
    ids=["another name", "another job"],
)
def test_a_file_that_remembers_another_job_is_refused(cloud: Cloud, other: Callable[[Cloud], Trainer]) -> None:
    """Neither job is lost."""
    make_trainer(cloud, remember="run.json").start()
    before = Path("run.json").read_bytes()
    with pytest.raises(ConfigError, match=r"run\.json, which remembers job job_1 'run' of 127\.0\.0\.1_\d+: finish"):
        other(cloud).start()
    assert Path("run.json").read_bytes() == before
    assert posts(cloud) == 1


def test_a_file_of_another_backend_is_refused(cloud: Cloud) -> None:
    """Its job is not there."""
    make_trainer(cloud, remember="run.json").start()
    with Cloud() as elsewhere, pytest.raises(ConfigError, match="finish that one first"):
        make_trainer(elsewhere, remember="run.json").start()


def test_other_settings_are_told_of(cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """The remembered job goes on with the settings that it was started with."""
    make_trainer(cloud, remember="run.json", max_steps=5).start()
    with caplog.at_level(logging.WARNING, "arkor"):
        make_trainer(cloud, remember="run.json", max_steps=5).start()
        assert not caplog.records
        make_trainer(cloud, remember="run.json", max_steps=6, batch_size=2).start()
    assert "it was started with other settings: maxSteps, batchSize" in caplog.text


def test_a_remembered_job_that_is_gone_says_what_to_do(cloud: Cloud) -> None:
    """Nothing is started in its place unasked."""
    make_trainer(cloud, remember="run.json").start()
    cloud.jobs.clear()
    with pytest.raises(NotFound, match=r"Job job_1, which .*run\.json remembers, is gone\. Delete the file to start"):
        make_trainer(cloud, remember="run.json").wait()
    assert posts(cloud) == 1


def test_trainers_with_one_file_submit_one_job(cloud: Cloud) -> None:
    """However many start at once."""
    trainers = [make_trainer(cloud, remember="run.json") for _ in range(8)]
    waits = [Waiting(trainer.start) for trainer in trainers]
    assert {wait.outcome().id for wait in waits} == {"job_1"}
    assert posts(cloud) == 1


def test_a_file_that_cannot_be_written_is_refused_before_a_job(cloud: Cloud) -> None:
    """The job would be lost with the process."""
    Path("run.json").mkdir()
    with pytest.raises(ConfigError, match=r"run\.json, which cannot be used"):
        make_trainer(cloud, remember="run.json").start()
    assert posts(cloud) == 0


def test_an_iterator_left_open_names_itself(cloud: Cloud) -> None:
    """Waiting beside it on the same thread would never end."""
    trainer = make_trainer(cloud)
    events = trainer.events()
    assert not isinstance(next(events), TrainingLogEvent)
    with pytest.raises(RuntimeError, match=r"an iterator of its events\(\) is open on this thread"):
        trainer.wait()
    events.close()  # type: ignore[attr-defined]
    trainer.wait()
    assert len(cloud.calls("GET", STREAM)) == 2
