"""What the page is told of jobs, of the backend and of the user, and how a backend's errors reach it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

pytest.importorskip("plotly")

from arkor.client.project import state_path
from arkor.studio.app import create_app
from arkor.studio.curve import FEWEST_POINTS
from arkor.studio.routes import access, jobs
from arkor.studio.state import Studio
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.events import ADAPTER, PLAN, TIMESTAMP, log
from tests.support.studio_server import api

JOB = {
    "id": "job_1",
    "name": "triage",
    "status": "running",
    "config": {"datasetSource": {"type": "blob", "url": "u", "token": "SECRET"}},
    "createdAt": TIMESTAMP,
}


@pytest.fixture
def studio(project: Path) -> Iterator[Studio]:
    """A Studio of the working directory."""
    one = Studio.of(project, local=False)
    yield one
    one.stopping.set()


@pytest.fixture
def page(studio: Studio) -> FlaskClient:
    """A page's side of its API, without a network between."""
    return api(studio)


def test_jobs_are_listed_newest_first_without_tokens(routed_cloud: Cloud, page: FlaskClient) -> None:
    """Whatever order the backend has; figures that no browser can read are null."""
    for number in (1, 3, 2):
        name = f"job_{number}"
        routed_cloud.jobs[name] = {**JOB, "id": name, "createdAt": f"2026-01-0{number}", "odd": float("nan")}
    answer = page.get("/api/jobs")
    assert [job["id"] for job in answer.get_json()["jobs"]] == ["job_3", "job_2", "job_1"]
    assert answer.get_json()["jobs"][0]["odd"] is None
    one = page.get("/api/jobs/job_1")
    assert one.get_json()["job"]["config"] == {"datasetSource": {"type": "blob", "url": "u"}}
    assert "SECRET" not in answer.text + one.text


def test_looking_makes_no_project(arkor_cloud: Cloud, page: FlaskClient, project: Path) -> None:
    """A folder without one has no jobs, and nothing is written there."""
    assert page.get("/api/jobs").get_json() == {"jobs": [], "more": False}
    for path in ("jobs/job_1", "jobs/job_1/metrics", "jobs/job_1/metrics.csv", "jobs/job_1/events"):
        answer = page.get(f"/api/{path}")
        assert (answer.status_code, "no project yet" in answer.get_json()["error"]) == (404, True)
    assert arkor_cloud.calls("POST", "/v1/projects") == []
    assert list(project.iterdir()) == []


def test_the_newest_jobs_are_listed(routed_cloud: Cloud, page: FlaskClient) -> None:
    """As many as the page asks for, and whether there are others."""
    for number in range(1, 6):
        at = f"2026-01-0{number}T00:00:00.000Z"
        routed_cloud.jobs[f"job_{number}"] = {"id": f"job_{number}", "status": "completed", "createdAt": at}
    every = [5, 4, 3, 2, 1]
    for query, ids, more in (("?limit=2", [5, 4], True), ("?limit=5", every, False), ("", every, False)):
        body = page.get(f"/api/jobs{query}").get_json()
        assert ([job["id"] for job in body["jobs"]], body["more"]) == ([f"job_{number}" for number in ids], more)
    assert page.get("/api/jobs?limit=x").status_code == 400


def test_the_routing_of_another_identity_is_told(arkor_cloud: Cloud, page: FlaskClient) -> None:
    """With both ways out; who the user is can be told all the same."""
    page.get("/api/jobs")
    host = f"127.0.0.1_{arkor_cloud.port}"
    path = state_path(host=host)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"orgSlug": "theirs", "projectSlug": "p", "projectId": "i"}))
    answer = page.get("/api/jobs")
    assert answer.status_code == 409
    assert "belongs to organisation theirs" in answer.get_json()["error"]
    told = page.get("/api/credentials").get_json()
    assert (told["org"], told["project"], told["error"]) == ("anon-1", None, None)


def test_a_backends_error_comes_through(routed_cloud: Cloud, page: FlaskClient) -> None:
    """Its status, its words, and when to come back; never the token that it may echo."""
    routed_cloud.answer("GET", "/v1/jobs/*", Answer(status=418, body={"error": "token-1 is a teapot"}))
    answer = page.get("/api/jobs/job_1")
    assert (answer.status_code, answer.get_json()) == (418, {"error": "… is a teapot"})
    busy = Answer(status=429, body={"error": "Slow down"}, headers={"Retry-After": "0"})
    routed_cloud.answer("POST", "/v1/jobs/*/cancel", busy, busy, busy)
    answer = page.post("/api/jobs/job_1/cancel", json={})
    assert (answer.status_code, answer.headers["Retry-After"]) == (429, "0")
    assert page.get("/api/jobs/..").status_code == 400
    routed_cloud.answer("GET", "/v1/jobs", Answer(body=b"<html>a login page</html>"))
    assert page.get("/api/jobs").status_code == 502


def test_a_notice_of_the_backend_comes_through(routed_cloud: Cloud, page: FlaskClient) -> None:
    """With the answer that it belongs to, and no other."""
    headers = {"Deprecation": "true", "Warning": '299 - "Old"', "Sunset": "Thu, 31 Dec 2026 23:59:59 GMT"}
    routed_cloud.answer("GET", "/v1/jobs", Answer(body={"jobs": []}, headers=headers))
    answer = page.get("/api/jobs")
    assert {name: answer.headers.get(name) for name in headers} == headers
    routed_cloud.answer("GET", "/v1/jobs", Answer(status=500, body={"error": "no"}, headers=headers))
    routed_cloud.answer("GET", "/v1/jobs", *[Answer(status=500, body={"error": "no"})] * 2)
    assert page.get("/api/jobs").headers["Sunset"] == headers["Sunset"]
    assert "Sunset" not in page.get("/api/jobs").headers


def test_a_backend_that_is_away_is_told(routed_cloud: Cloud, page: FlaskClient) -> None:
    """502 for what needs it; who the user is can be told without."""
    with routed_cloud.away():
        answer = page.get("/api/jobs")
        assert (answer.status_code, "connection refused" in answer.get_json()["error"]) == (502, True)
        told = page.get("/api/credentials")
    assert told.status_code == 200
    assert "connection refused" in told.get_json()["error"]
    assert (told.get_json()["mode"], told.get_json()["project"], told.get_json()["features"]) == (
        "anon",
        "my-project",
        None,
    )
    assert page.get("/api/jobs").status_code == 200


def test_a_backend_that_is_stuck_holds_nobody_up_for_long(
    routed_cloud: Cloud, page: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It counts as down, also while its connection stands."""
    monkeypatch.setattr(access, "PATIENCE_S", 0.3)
    routed_cloud.answer("GET", "/v1/jobs", Answer(gate=threading.Event()))
    answer = page.get("/api/jobs")
    assert (answer.status_code, "did not answer" in answer.get_json()["error"]) == (502, True)


def test_who_the_user_is_never_tells_a_token(routed_cloud: Cloud, page: FlaskClient) -> None:
    """Only what the header of the page shows."""
    routed_cloud.features = {"artifacts"}
    answer = page.get("/api/credentials")
    assert answer.get_json() == {
        "mode": "anon",
        "org": "anon-1",
        "project": "my-project",
        "host": f"127.0.0.1:{routed_cloud.port}",
        "baseUrl": routed_cloud.url,
        "local": False,
        "backend": "stand-in",
        "features": ["artifacts"],
        "error": None,
    }


def test_another_login_counts_at_once(
    routed_cloud: Cloud, page: FlaskClient, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Studio does not have to be started again after arkor login or logout."""
    assert page.get("/api/credentials").get_json()["org"] == "anon-1"
    for file in (home / ".arkor" / "hosts").glob("*.json"):
        file.unlink()
    assert page.get("/api/credentials").get_json()["org"] == "anon-2"
    monkeypatch.setenv("ARKOR_TOKEN", "token-1")
    told = page.get("/api/credentials").get_json()
    assert (told["mode"], told["org"]) == ("token", "anon-1")


def test_features_that_a_backend_lacks_are_named(routed_cloud: Cloud, page: FlaskClient) -> None:
    """501, so that the page can say why something is grey."""
    for path, feature in (("models", "models"), ("jobs/job_1/artifacts", "artifacts")):
        answer = page.get(f"/api/{path}")
        assert (answer.status_code, answer.get_json()["feature"]) == (501, feature)
    linked = page.post("/api/jobs/job_1/artifacts/adapter/link", json={})
    assert (linked.status_code, linked.get_json()["feature"]) == (501, "artifacts")
    for action, feature in (("pause", "pause-jobs"), ("unpause", "pause-jobs"), ("resume", "resume-jobs")):
        answer = page.post(f"/api/jobs/job_1/{action}", json={"idempotencyKey": "key"})
        assert (answer.status_code, answer.get_json()["feature"]) == (501, feature)


def test_models_are_listed(routed_cloud: Cloud, page: FlaskClient) -> None:
    """As the backend describes them."""
    models = [
        {"id": "a", "ready": False, "pull": {"state": "running", "done": 1, "total": 2}},
        {"id": "b", "ready": True},
    ]
    routed_cloud.features = {"models"}
    routed_cloud.answer("GET", "/v1/models", Answer(body={"models": models}))
    assert page.get("/api/models").get_json() == {"models": models}


def test_a_job_is_cancelled_once(routed_cloud: Cloud, page: FlaskClient) -> None:
    """One that has ended is the backend's refusal."""
    routed_cloud.jobs["job_1"] = dict(JOB)
    answer = page.post("/api/jobs/job_1/cancel", json={})
    assert (answer.status_code, answer.get_json()["job"]["status"]) == (200, "cancelled")
    again = page.post("/api/jobs/job_1/cancel", json={})
    assert (again.status_code, again.get_json()) == (409, {"error": "The job is cancelled already"})


def test_a_job_is_paused_and_goes_on(routed_cloud: Cloud, page: FlaskClient) -> None:
    """The page gets the job of the backend's answer, without tokens, or the backend's refusal."""
    routed_cloud.features = {"pause-jobs"}
    paused = {**JOB, "status": "paused", "pauseReason": "the disk is full"}
    refusal = Answer(status=409, body={"error": "Job job_1 is running, not paused."})
    routed_cloud.answer("POST", "/v1/jobs/job_1/pause", Answer(body={"job": paused}))
    routed_cloud.answer("POST", "/v1/jobs/job_1/unpause", Answer(body={"job": {**JOB, "status": "queued"}}), refusal)
    answer = page.post("/api/jobs/job_1/pause", json={})
    assert answer.status_code == 200
    told = answer.get_json()["job"]
    assert (told["status"], told["pauseReason"], "SECRET" in answer.text) == ("paused", "the disk is full", False)
    assert page.post("/api/jobs/job_1/unpause", json={}).get_json()["job"]["status"] == "queued"
    again = page.post("/api/jobs/job_1/unpause", json={})
    assert (again.status_code, again.get_json()) == (409, {"error": "Job job_1 is running, not paused."})


def test_a_job_is_resumed_under_the_key_of_the_page(routed_cloud: Cloud, page: FlaskClient) -> None:
    """So that a page which asks twice gets one new job; the page gets that job."""
    routed_cloud.features = {"resume-jobs"}
    new = {**JOB, "id": "job_2", "status": "queued", "resumedFrom": {"jobId": "job_1", "step": 40}}
    answers = (Answer(status=status, body={"job": new}) for status in (201, 200))
    routed_cloud.answer("POST", "/v1/jobs/job_1/resume", *answers)
    for _ in range(2):
        answer = page.post("/api/jobs/job_1/resume", json={"idempotencyKey": "one-key"})
        assert answer.status_code == 200
        assert answer.get_json()["job"]["resumedFrom"] == {"jobId": "job_1", "step": 40}
    asked = routed_cloud.calls("POST", "/v1/jobs/*/resume")
    assert [request.headers["idempotency-key"] for request in asked] == ["one-key"] * 2


@pytest.mark.parametrize("key", [None, "", 7, "a" * 201, "two\r\nlines", "\N{SNOWMAN}"])
def test_a_job_is_not_resumed_without_a_good_key(routed_cloud: Cloud, page: FlaskClient, key: object) -> None:
    """Nothing is sent to the backend."""
    routed_cloud.features = {"resume-jobs"}
    answer = page.post("/api/jobs/job_1/resume", json={"idempotencyKey": key})
    assert (answer.status_code, "idempotencyKey" in answer.get_json()["error"]) == (400, True)
    assert page.post("/api/jobs/job_1/resume", json=[]).status_code == 400
    assert routed_cloud.calls("POST", "/v1/jobs/*/resume") == []


def test_metrics_are_read_once_and_then_go_on(routed_cloud: Cloud, page: FlaskClient) -> None:
    """What was seen is told of jobs whose backend does not tell how far they are."""
    routed_cloud.jobs["job_1"] = {**JOB, "status": "completed"}
    first = page.get("/api/jobs/job_1/metrics").get_json()
    assert (first["total"], first["lastEventId"], first["ended"]) == (3, "6", True)
    assert [point["step"] for point in first["points"]] == [1, 2, 3]
    assert [line["type"] for line in first["lines"]] == [event["type"] for event in PLAN]
    assert page.get("/api/jobs/job_1/metrics?points=10").get_json() == first
    assert len(routed_cloud.streams) == 1
    assert page.get("/api/jobs").get_json()["jobs"][0]["progress"] == {"step": 3, "loss": 0.5}
    routed_cloud.jobs["job_1"]["progress"] = {"step": 9}
    assert page.get("/api/jobs/job_1").get_json()["job"]["progress"] == {"step": 9}
    del routed_cloud.jobs["job_1"]
    assert page.get("/api/jobs/job_1/metrics").status_code == 404


def test_samples_are_told_by_prompt_and_step(routed_cloud: Cloud, page: FlaskClient) -> None:
    """The stream is read once; a job that was deleted is not told any more."""
    routed_cloud.jobs["job_1"] = {**JOB, "status": "completed"}
    sample = {"type": "sample.made", "step": 2, "sample": 0, "prompt": "Once", "answer": " upon", "odd": 1}
    routed_cloud.plan = [*PLAN[:2], sample, *PLAN[2:]]
    told = {
        "prompts": [{"sample": 0, "prompt": "Once"}],
        "answers": [{"step": 2, "sample": 0, "answer": " upon"}],
        "leftOutSteps": 0,
    }
    assert page.get("/api/jobs/job_1/samples").get_json() == told
    assert page.get("/api/jobs/job_1/samples").get_json() == told
    assert len(routed_cloud.streams) == 1
    del routed_cloud.jobs["job_1"]
    assert page.get("/api/jobs/job_1/samples").status_code == 404


@pytest.mark.parametrize("points", ["", "-1", "1e9", "many"])
def test_how_many_points_has_to_be_a_number(routed_cloud: Cloud, page: FlaskClient, points: str) -> None:
    """It says so."""
    answer = page.get(f"/api/jobs/job_1/metrics?points={points}")
    assert (answer.status_code, "points" in answer.get_json()["error"]) == (400, True)


def test_metrics_come_as_figures_where_the_backend_has_them(routed_cloud: Cloud, page: FlaskClient) -> None:
    """Without an event stream; a job that has none is told as one."""
    routed_cloud.features = {"stored-events"}
    routed_cloud.jobs["job_1"] = JOB
    event = {"type": "training.completed", "jobId": "job_1", "timestamp": TIMESTAMP}
    body = {"figures": [[1, 2.5, None, None, None, None, TIMESTAMP]], "events": [["7", event]], "more": False}
    routed_cloud.answer("GET", "/v1/jobs/*/events", Answer(body=body), Answer(status=404, body={"error": "No job"}))
    told = page.get("/api/jobs/job_1/metrics").get_json()
    assert [(point["step"], point["loss"]) for point in told["points"]] == [(1, 2.5)]
    assert (told["total"], told["lastEventId"], told["ended"]) == (1, "7", True)
    assert told["lines"] == [{**event, "id": "7"}]
    answer = page.get("/api/jobs/job_2/metrics")
    assert (answer.status_code, answer.get_json()) == (404, {"error": "No job"})
    assert routed_cloud.streams == []


def test_metrics_of_a_long_job_are_few_and_the_csv_has_all(
    routed_cloud: Cloud, page: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chart stays quick, however many points are asked for; whoever wants each line gets it."""
    routed_cloud.jobs["job_1"] = {**JOB, "status": "completed"}
    routed_cloud.plan = [*(log(step, 1 / step) for step in range(1, 3000)), PLAN[-1]]
    told = page.get("/api/jobs/job_1/metrics?points=100").get_json()
    assert (told["total"], len(told["lines"])) == (2999, 500)
    assert 95 <= len(told["points"]) <= 100
    monkeypatch.setattr(jobs, "MOST_POINTS", 50)
    for points, most in ((1, FEWEST_POINTS), (999_999_999, 50)):
        assert 0 < len(page.get(f"/api/jobs/job_1/metrics?points={points}").get_json()["points"]) <= most
    table = page.get("/api/jobs/job_1/metrics.csv")
    assert table.headers["Content-Disposition"] == 'attachment; filename="job_1.csv"'
    assert (table.mimetype, table.text.count("\r\n")) == ("text/csv", 3000)
    for path in ("metrics", "metrics.csv"):
        assert page.get(f"/api/jobs/job_9/{path}").status_code == 404


def test_a_download_has_an_address_of_its_own(routed_cloud: Cloud, page: FlaskClient, studio: Studio) -> None:
    """For one use, without the token of the API, under a name that is safe everywhere."""
    routed_cloud.features = {"artifacts"}
    odd = {**ADAPTER, "name": '.a b\r\n"é'}
    routed_cloud.answer("GET", "/v1/jobs/*/artifacts", *[Answer(body={"artifacts": [odd]})] * 3)
    assert page.get("/api/jobs/job_1/artifacts").get_json() == {"artifacts": [odd]}
    assert page.post("/api/jobs/job_1/artifacts/other/link", json={}).status_code == 404
    made = page.post("/api/jobs/job_1/artifacts/.a%20b%0D%0A%22%C3%A9/link", json={})
    browser = create_app(studio).test_client()
    assert browser.head(made.get_json()["url"]).status_code == 404
    routed_cloud.answer("GET", "/v1/jobs/*/artifacts/*", Answer(body=b"tar" * 4))
    sent = browser.get(made.get_json()["url"])
    assert (sent.status_code, sent.data, sent.headers["Content-Length"]) == (200, b"tar" * 4, "12")
    assert sent.headers["Content-Disposition"] == 'attachment; filename="job_1-.a_b_.tar"'
    assert "token" not in routed_cloud.requests[-1].query
    for path in (made.get_json()["url"], "/download/guessed"):
        assert browser.get(path).status_code == 404
    url = studio.links.make("job_1", "gone")
    routed_cloud.answer("GET", "/v1/jobs/*/artifacts/*", Answer(status=410, body={"error": "Gone from the disk"}))
    answer = browser.get(f"/download/{url}")
    assert (answer.status_code, answer.get_json()) == (410, {"error": "Gone from the disk"})
