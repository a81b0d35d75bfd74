"""The client's calls that pause, unpause and resume a job."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from arkor.client.client import CloudApiClient
from arkor.errors import Conflict, NotFound, ServerError, UnsupportedByBackend
from arkor.protocol.jobs import ResumedFrom, Scope, TrainingJob
from tests.support.cloud import Cloud
from tests.support.contract import Answer

SCOPE = Scope("org", "project")
QUERY = {"orgSlug": "org", "projectSlug": "project"}
LEAVING = Answer(status=503, body={"error": "The worker is about to leave"}, headers={"Retry-After": "0"})


@pytest.fixture
def client(cloud: Cloud) -> Iterator[CloudApiClient]:
    """A client of a stand-in that pauses and resumes jobs, and has one that runs."""
    cloud.know("secret", "org")
    cloud.features = {"pause-jobs", "resume-jobs"}
    cloud.jobs["job_1"] = {"id": "job_1", "name": "run", "status": "running"}
    one = CloudApiClient(cloud.url, token="secret")
    yield one
    one.close()


def test_a_job_is_paused_and_unpaused(cloud: Cloud, client: CloudApiClient) -> None:
    """Each call returns the job as it is then."""
    paused = client.pause_job(SCOPE, "job_1")
    assert (paused.status, paused.pause_reason) == ("paused", "it was paused by a person")
    unpaused = client.unpause_job(SCOPE, "job_1")
    assert (unpaused.status, unpaused.pause_reason) == ("queued", None)
    (pause,), (unpause,) = (cloud.calls("POST", f"/v1/jobs/job_1/{word}") for word in ("pause", "unpause"))
    assert pause.query == unpause.query == QUERY


def test_a_job_is_resumed_under_a_key(cloud: Cloud, client: CloudApiClient) -> None:
    """The new job says what it goes on from; a repeat under the same key returns it again."""
    cloud.jobs["job_1"].update(status="failed", error="boom")
    first, second, third = (client.resume_job(SCOPE, "job_1", idempotency_key=key) for key in ("k", "k", "other"))
    assert (first.id, first.status, first.resumed_from) == ("job_2", "queued", ResumedFrom("job_1", 2))
    assert (second.id, third.id) == ("job_2", "job_3")
    asked = cloud.calls("POST", "/v1/jobs/job_1/resume")[0]
    assert (asked.query, asked.headers["idempotency-key"], asked.body) == (QUERY, "k", b"")


def test_a_resumption_is_asked_again_while_the_worker_leaves(cloud: Cloud, client: CloudApiClient) -> None:
    """The backend says when; a worker that does not leave is an error in the backend's words."""
    cloud.jobs["job_1"]["status"] = "failed"
    cloud.answer("POST", "/v1/jobs/*/resume", LEAVING, LEAVING)
    assert client.resume_job(SCOPE, "job_1", idempotency_key="k").id == "job_2"
    cloud.answer("POST", "/v1/jobs/*/resume", *[LEAVING] * 3)
    with pytest.raises(ServerError, match="about to leave"):
        client.resume_job(SCOPE, "job_1", idempotency_key="k")


def test_a_resumption_whose_answer_is_lost_makes_one_job(cloud: Cloud, client: CloudApiClient) -> None:
    """The request is repeated with its key."""
    cloud.jobs["job_1"]["status"] = "failed"
    cloud.answer("POST", "/v1/jobs/*/resume", Answer(cut=0), Answer(cut=20))
    assert client.resume_job(SCOPE, "job_1", idempotency_key="k").id == "job_2"
    keys = [item.headers["idempotency-key"] for item in cloud.calls("POST", "/v1/jobs/*/resume")]
    assert keys == ["k"] * 3


CALLS: dict[str, Callable[[CloudApiClient, str], TrainingJob]] = {
    "pausing jobs": lambda client, job_id: client.pause_job(SCOPE, job_id),
    "unpausing": lambda client, job_id: client.unpause_job(SCOPE, job_id),
    "resuming jobs": lambda client, job_id: client.resume_job(SCOPE, job_id, idempotency_key="k"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_refusal_has_its_class(cloud: Cloud, client: CloudApiClient, call: Callable[..., TrainingJob]) -> None:
    """409 in a state that does not fit, 404 for a job that is not there."""
    cloud.jobs["job_1"]["status"] = "completed"
    with pytest.raises(Conflict, match="completed"):
        call(client, "job_1")
    with pytest.raises(NotFound):
        call(client, "job_9")


@pytest.mark.parametrize(("what", "call"), CALLS.items(), ids=CALLS)
def test_a_backend_without_the_feature_is_not_asked(
    cloud: Cloud, client: CloudApiClient, what: str, call: Callable[..., TrainingJob]
) -> None:
    """The error names it."""
    cloud.features = {"artifacts"}
    with pytest.raises(UnsupportedByBackend, match=what.replace("unpausing", "pausing jobs")) as raised:
        call(client, "job_1")
    assert raised.value.capability == ("resume-jobs" if what == "resuming jobs" else "pause-jobs")
    assert [item.path for item in cloud.requests] == ["/v1/capabilities"]
