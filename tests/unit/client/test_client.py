"""The client's own care: what a backend can do, and what it lists as values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from arkor.client.client import CloudApiClient, ModelStatus, Project
from arkor.errors import (
    ArkorError,
    AuthenticationError,
    CloudApiError,
    ConfigError,
    NotFound,
    RateLimited,
    ServerError,
    StreamError,
    UnsupportedByBackend,
    UpgradeRequired,
)
from arkor.protocol.jobs import Scope
from arkor.protocol.metrics import COLUMNS, UNNAMED_WIRE_COLUMNS, WIRE_COLUMNS
from tests.support.cloud import Cloud
from tests.support.contract import Answer

SCOPE = Scope("org", "project")
TIMESTAMP = "2026-01-31T09:30:09.000Z"


@pytest.fixture
def client(cloud: Cloud) -> Iterator[CloudApiClient]:
    """A client that the stand-in knows; the stand-in keeps artifacts."""
    cloud.know("secret", "org")
    cloud.features = {"artifacts"}
    one = CloudApiClient(cloud.url, token="secret")
    yield one
    one.close()


def test_what_a_backend_can_do_is_asked_once(cloud: Cloud, client: CloudApiClient) -> None:
    """And then known."""
    assert client.features == client.features == {"artifacts"}
    assert len(cloud.requests) == 1


def test_what_a_backend_says_later_counts(cloud: Cloud, client: CloudApiClient) -> None:
    """Another version may have taken its place while a program runs."""
    assert client.features == {"artifacts"}
    cloud.answer("GET", "/v1/capabilities", Answer(body={"features": ["models"]}))
    client.capabilities()
    assert client.features == {"models"}


@pytest.mark.parametrize("status", [400, 403, 404, 405, 409, 410, 418, 422, 501])
def test_a_backend_that_does_not_say_can_do_nothing_more(cloud: Cloud, client: CloudApiClient, status: int) -> None:
    """Arkor Cloud, for one: a feature is then refused by its name, and the backend is asked once."""
    cloud.answer("GET", "/v1/capabilities", Answer(status=status))
    assert client.features == frozenset()
    with pytest.raises(UnsupportedByBackend, match=f"{cloud.url} does not support listing artifacts") as raised:
        client.list_artifacts(SCOPE, "job_1")
    assert raised.value.feature == "listing artifacts"
    assert len(cloud.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [(408, CloudApiError), (429, RateLimited), (500, ServerError), (503, ServerError), (507, ServerError)],
)
def test_a_backend_that_fails_to_say_is_asked_again(
    cloud: Cloud, client: CloudApiClient, status: int, error: type[CloudApiError]
) -> None:
    """A failure is no answer. What needs no feature goes on; what needs one raises the backend's own error."""
    failure = Answer(status=status, body={"error": "busy"}, headers={"Retry-After": "0"})
    once = 1 if status in {408, 507} else 3  # how often one question is asked
    cloud.answer("GET", "/v1/capabilities", *[failure] * (3 * once))
    assert client.features == frozenset()
    with pytest.raises(error, match="busy") as raised:
        client.list_artifacts(SCOPE, "job_1")
    assert (type(raised.value), raised.value.status) == (error, status)
    with pytest.raises(error, match="busy"):
        client.capabilities()
    assert client.features == {"artifacts"}


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b"[]", b'"artifacts"', b""])
def test_a_page_that_is_no_answer_is_asked_again(cloud: Cloud, client: CloudApiClient, body: bytes) -> None:
    """A proxy's, say: it neither ends what needs no feature, nor says that the backend has none."""
    cloud.answer("GET", "/v1/capabilities", *[Answer(body=body)] * 2)
    assert client.features == frozenset()
    with pytest.raises(ArkorError, match=r"JSON object|was cut") as raised:
        client.list_artifacts(SCOPE, "job_1")
    assert not isinstance(raised.value, UnsupportedByBackend)
    assert client.features == {"artifacts"}


@pytest.mark.parametrize(("status", "error"), [(401, AuthenticationError), (426, UpgradeRequired)])
def test_what_the_user_has_to_do_is_raised(
    cloud: Cloud, client: CloudApiClient, status: int, error: type[CloudApiError]
) -> None:
    """To log in, or to upgrade: nothing else would work either."""
    cloud.answer("GET", "/v1/capabilities", Answer(status=status))
    with pytest.raises(error):
        _ = client.features


@pytest.mark.parametrize("body", [{}, {"features": None}, {"features": "artifacts"}, {"features": {"artifacts": True}}])
def test_odd_features_are_none(cloud: Cloud, client: CloudApiClient, body: dict[str, object]) -> None:
    """Nothing is guessed."""
    cloud.answer("GET", "/v1/capabilities", Answer(body=body))
    assert client.features == frozenset()


def test_me_says_who_the_client_is(client: CloudApiClient) -> None:
    """As the backend puts it."""
    assert client.me()["orgs"][0]["slug"] == "org"


def test_jobs_and_projects_are_listed_as_values(cloud: Cloud, client: CloudApiClient) -> None:
    """What is no object in a list is passed over."""
    cloud.jobs["job_1"] = {"id": "job_1", "status": "running", "gpuType": "new"}
    (job,) = client.list_jobs(SCOPE)
    assert (job.id, job.extra) == ("job_1", {"gpuType": "new"})
    cloud.answer("GET", "/v1/projects", Answer(body={"projects": [{"id": "p", "slug": "s", "orgId": "o"}, 3, None]}))
    assert client.list_projects("org") == [Project("p", "s", "", "o")]
    cloud.answer("GET", "/v1/projects", Answer(body={"projects": "none"}))
    assert client.list_projects("org") == []


def test_a_deletion_whose_answer_was_lost_is_done(cloud: Cloud, client: CloudApiClient) -> None:
    """The repeat finds no job, which is what was asked for; a job that was never there is NotFound."""
    cloud.features = {"delete-jobs"}
    cloud.answer("DELETE", "/v1/jobs/*", Answer(cut=0), Answer(status=404), Answer(status=404))
    client.delete_job(SCOPE, "job_1")
    assert [request.path for request in cloud.calls("DELETE", "/v1/jobs/*")] == ["/v1/jobs/job_1"] * 2
    with pytest.raises(NotFound):
        client.delete_job(SCOPE, "job_2")


def test_jobs_are_not_deleted_where_that_cannot_be(cloud: Cloud, client: CloudApiClient) -> None:
    """On Arkor Cloud, say: nothing is sent."""
    with pytest.raises(UnsupportedByBackend, match="does not support deleting jobs"):
        client.delete_job(SCOPE, "job_1")
    assert not cloud.calls("DELETE", "/v1/jobs/*")


def test_stored_events_are_pairs(cloud: Cloud, client: CloudApiClient) -> None:
    """What is none is passed over, and nothing is asked of a backend that has none."""
    with pytest.raises(UnsupportedByBackend, match="does not support reading stored events"):
        client.stored_events(SCOPE, "job_1")
    cloud.features = {"stored-events"}
    client.capabilities()
    event = {"type": "training.log", "step": 3}
    odd = [3, ["4"], ["5", None], ["6", {"step": 1}], ["7", {"type": None}]]
    cloud.answer("GET", "/v1/jobs/*/events", Answer(body={"events": [[3, event], *odd], "more": True}))
    assert client.stored_events(SCOPE, "job_1") == ([("3", event)], True)
    cloud.answer("GET", "/v1/jobs/*/events", Answer(body={"events": "none", "more": True}))
    assert client.stored_events(SCOPE, "job_1") == ([], False)


def _figures(cloud: Cloud, client: CloudApiClient, rows: object) -> dict[str, list[object]]:
    cloud.answer("GET", "/v1/jobs/*/events", Answer(body={"figures": rows, "events": []}))
    return dict(zip(COLUMNS, map(list, client.stored_figures(SCOPE, "job_1")[0]), strict=True))


@pytest.mark.parametrize("rows", ["none", [], None])
def test_figures_without_rows_are_empty_columns(cloud: Cloud, client: CloudApiClient, rows: object) -> None:
    """One for each metric."""
    cloud.features = {"stored-events"}
    assert _figures(cloud, client, rows) == {name: [] for name in COLUMNS}


def test_an_old_backend_is_asked_for_the_seven_columns_it_has(cloud: Cloud, client: CloudApiClient) -> None:
    """By a request that names none; the metrics it does not have are absent in every row."""
    cloud.features = {"stored-events"}
    old = [3, 0.5, None, 1e-4, None, None, TIMESTAMP]
    found = _figures(cloud, client, [old, old])
    assert (found["step"], found["loss"], found["timestamp"]) == ([3, 3], [0.5, 0.5], [TIMESTAMP, TIMESTAMP])
    assert found["grad_norm"] == [None, None]
    assert "columns" not in cloud.requests[-1].query


def test_a_new_backend_is_asked_for_the_columns_by_name(cloud: Cloud, client: CloudApiClient) -> None:
    """All that this version knows, in the order in which the rows have them."""
    cloud.features = {"stored-events", "figure-columns"}
    row = [index + 0.5 for index, _ in enumerate(COLUMNS)]
    assert _figures(cloud, client, [row]) == {name: [value] for name, value in zip(COLUMNS, row, strict=True)}
    assert cloud.requests[-1].query["columns"] == ",".join(WIRE_COLUMNS)


@pytest.mark.parametrize("features", [{"stored-events"}, {"stored-events", "figure-columns"}])
@pytest.mark.parametrize("odd", [[4], None, {}, list(range(20))])
def test_a_row_of_another_width_is_an_error(
    cloud: Cloud, client: CloudApiClient, features: set[str], odd: object
) -> None:
    """It says so: figures are never dropped without a word."""
    cloud.features = features
    row = [3, *[None] * (len(COLUMNS if "figure-columns" in features else UNNAMED_WIRE_COLUMNS) - 1)]
    with pytest.raises(StreamError, match="The backend sent a row of figures"):
        _figures(cloud, client, [row, odd, row])


def test_models_are_listed_as_values(cloud: Cloud, client: CloudApiClient) -> None:
    """With how far a pull is."""
    cloud.features = {"models"}
    pull = {"state": "running", "done": 3}
    cloud.answer("GET", "/v1/models", Answer(body={"models": [{"id": "m", "ready": True, "pull": pull}, {"ready": 1}]}))
    assert client.list_models() == [ModelStatus("m", True, pull=pull), ModelStatus("", True)]


def test_an_address_that_is_none_is_refused_before_anything_is_sent() -> None:
    """By the name of the setting."""
    with pytest.raises(ConfigError, match="ARKOR_CLOUD_API_URL"):
        CloudApiClient("nonsense", token="secret")


def _job(number: int) -> dict[str, Any]:
    return {"id": f"job_{number}", "createdAt": f"2026-01-0{number}T00:00:00.000Z"}


def test_jobs_are_fetched_in_pages_as_they_are_needed(cloud: Cloud, client: CloudApiClient) -> None:
    """Where the backend has pages; each is asked for after the one before."""
    cloud.features = {"pages"}
    pages = ({"jobs": [_job(5), _job(4)], "next": "a&b"}, {"jobs": [_job(3)]})
    cloud.answer("GET", "/v1/jobs", *[Answer(body=page) for page in pages])
    assert [job.id for job in client.list_jobs(SCOPE)] == ["job_5", "job_4", "job_3"]
    assert [call.query.get("after") for call in cloud.calls("GET", "/v1/jobs")] == [None, "a&b"]
    cloud.answer("GET", "/v1/jobs", Answer(body={"jobs": [_job(5), _job(4)], "next": "c"}))
    assert [job.id for job in client.list_jobs(SCOPE, limit=2)] == ["job_5", "job_4"]
    asked = cloud.calls("GET", "/v1/jobs")
    assert (len(asked), asked[-1].query["limit"]) == (3, "2")


def test_a_backend_without_pages_is_asked_for_all(cloud: Cloud, client: CloudApiClient) -> None:
    """Arkor Cloud, and an older self-hosted one; the newest are found among them, in whatever order they come."""
    body = Answer(body={"jobs": [_job(2), _job(5), _job(3)], "next": "ignored"})
    cloud.answer("GET", "/v1/jobs", body, body)
    assert [job.id for job in client.list_jobs(SCOPE)] == ["job_2", "job_5", "job_3"]
    assert [job.id for job in client.list_jobs(SCOPE, limit=2)] == ["job_5", "job_3"]
    assert all("limit" not in call.query for call in cloud.calls("GET", "/v1/jobs"))


def test_a_limit_below_1_is_refused(cloud: Cloud, client: CloudApiClient) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match="limit: must be 1 or more, not 0"):
        client.list_jobs(SCOPE, limit=0)
    assert cloud.requests == []


def test_pages_that_lead_in_a_circle_are_an_error(cloud: Cloud, client: CloudApiClient) -> None:
    """They are not read for ever."""
    cloud.features = {"pages"}
    cloud.answer("GET", "/v1/jobs", *[Answer(body={"jobs": [_job(1)], "next": "same"})] * 2)
    with pytest.raises(StreamError, match="does not go on after 'same'"):
        client.list_jobs(SCOPE)
