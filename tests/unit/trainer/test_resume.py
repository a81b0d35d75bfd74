"""Making the job that goes on from a trainer's, once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

from arkor.client.client import CloudApiClient
from arkor.errors import Aborted, CloudApiError, Conflict, ConnectionFailed, ServerError
from arkor.http.abort import Deadline
from arkor.protocol.jobs import Scope, TrainingJob
from arkor.trainer import resume
from arkor.trainer.resume import Resumption
from arkor.trainer.start import Attachment, Starter

NEW = TrainingJob(id="job_2\x1b", name="run", status="queued")
LEAVING = ServerError(503, "about to leave", retry_after=0.0)


class Asked:
    """A resumption whose backend answers with these, one after the other; an exception is raised."""

    made: ClassVar[list[Asked]] = []

    def __init__(self, *answers: TrainingJob | Exception) -> None:
        self.client: Any = mock.create_autospec(CloudApiClient, instance=True)
        self.client.resume_job.side_effect = answers
        self.aborting = threading.Event()
        Asked.made.append(self)
        self.starter = Starter(
            Attachment("job_1", None),
            client=self.client,
            backend="local",
            project_dir=Path(),
            remember=None,
            abort_event=self.aborting,
        )
        self.starter._scope = Scope("org", "project")
        self.resumption = Resumption(self.starter)

    def make(self) -> Starter:
        """Make the job, or find it."""
        return self.resumption.make(Deadline())

    @property
    def keys(self) -> list[str]:
        """The keys of the requests so far."""
        return [call.kwargs["idempotency_key"] for call in self.client.resume_job.call_args_list]


@pytest.fixture(autouse=True)
def _no_watcher() -> Iterator[None]:
    """Let the threads that watch the abort events leave, which they do at once when these are set."""
    yield
    while Asked.made:
        Asked.made.pop().aborting.set()


def test_the_job_is_made_once() -> None:
    """Its starter follows it at the same backend, and writes no file."""
    asked = Asked(NEW)
    made = asked.make()
    assert made is asked.make()
    assert len(asked.keys) == 1
    assert (made.job_id, made.backend, made.bookmark.path) == (NEW.id, "local", None)
    assert made.connect() == (asked.client, Scope("org", "project"))


def test_every_try_has_the_same_key_and_every_trainer_another() -> None:
    """So a backend finds the job that it made, and a job can be resumed twice."""
    asked = Asked(ConnectionFailed("No answer"), LEAVING, LEAVING, NEW)
    with pytest.raises(ConnectionFailed):
        asked.make()
    asked.make()
    assert len(asked.keys) == 4
    assert len(set(asked.keys)) == 1
    other = Asked(NEW)
    other.make()
    assert other.keys[0] != asked.keys[0]


@pytest.mark.parametrize(
    "failure", [Conflict(409, "is running"), ServerError(503, "busy"), ServerError(500, "?", retry_after=0.0)]
)
def test_other_refusals_are_not_waited_out(failure: CloudApiError) -> None:
    """Only a worker that leaves is: the backend says when to come back."""
    asked = Asked(failure)
    with pytest.raises(type(failure)) as raised:
        asked.make()
    assert raised.value is failure


def test_a_worker_that_does_not_leave_is_waited_for_so_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then its refusal is the error."""
    monkeypatch.setattr(resume, "LONGEST_LEAVING_S", 0.0)
    asked = Asked(LEAVING, NEW)
    with pytest.raises(ServerError, match="about to leave"):
        asked.make()


def test_the_state_says_what_became_of_the_job() -> None:
    """Before a request, after one without an answer, and when the job is known; no terminal obeys an id."""
    asked = Asked(ConnectionFailed("No answer"), NEW)
    assert asked.resumption.state() == "Job job_1 was not resumed."
    with pytest.raises(ConnectionFailed):
        asked.make()
    assert asked.resumption.state() == "A job that goes on from job job_1 may have been made: resume() finds it."
    asked.make()
    assert asked.resumption.state() == "Job job_2 goes on from job job_1: resume() returns its trainer."


def test_an_abort_that_comes_with_the_answer_keeps_the_job() -> None:
    """It is raised, and the next call returns the job without a request."""
    asked = Asked()

    def answer(*_: object, **__: object) -> TrainingJob:
        asked.aborting.set()
        return NEW

    asked.client.resume_job.side_effect = answer
    with pytest.raises(Aborted):
        asked.make()
    assert asked.make().job_id == NEW.id
    assert len(asked.keys) == 1
