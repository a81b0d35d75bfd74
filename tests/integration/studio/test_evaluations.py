"""Evaluations of a job, as the page gets them: which there are, asking for one, its report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

pytest.importorskip("plotly")
pytest.importorskip("sqlalchemy")

from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from tests.support.backend import Client, own_backend
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.events import TIMESTAMP
from tests.support.eventually import eventually
from tests.support.studio_server import served
from tests.support.tiny_model import write_tiny_model

PATH = "/api/jobs/job_1/evaluations"
CLOUD_PATH = "/v1/jobs/job_1/evaluations"
EVALUATION = {"id": "eval_1", "jobId": "job_1", "status": "queued", "options": {"limit": 20}, "createdAt": TIMESTAMP}
MARKUP = "<script>alert(1)</script>"
REPORT: dict[str, Any] = {
    "id": "eval_1",
    "candidates": ["base", "adapter"],
    "verdict": "better: +58 points exactly right, 95 % interval 44 to 71",
    "table": [{"row": 3, "expected": "yes", "answers": {"adapter": {"text": MARKUP, "finishReason": "stop"}}}],
    "ofANewerBackend": {"loss": float("nan")},
}


@pytest.fixture
def evaluating(routed_cloud: Cloud) -> Cloud:
    """A backend that makes evaluations."""
    routed_cloud.features = {"evaluations"}
    return routed_cloud


def test_evaluations_are_listed_the_newest_last(evaluating: Cloud, page: FlaskClient) -> None:
    """As the backend describes them, with fields of a newer one."""
    newer = {**EVALUATION, "id": "eval_2", "status": "running", "done": 3, "total": 8, "pace": 2.5}
    evaluating.answer("GET", CLOUD_PATH, Answer(body={"evaluations": [EVALUATION, newer]}))
    first, second = page.get(PATH).get_json()["evaluations"]
    assert (first["id"], first["options"]) == ("eval_1", {"limit": 20})
    assert {name: second[name] for name in ("id", "status", "done", "total", "pace")} == {
        name: newer[name] for name in ("id", "status", "done", "total", "pace")
    }


def test_a_backend_without_evaluations_has_none(routed_cloud: Cloud, page: FlaskClient) -> None:
    """An empty list, without a question; what asks for more is a 501."""
    assert page.get(PATH).get_json() == {"evaluations": []}
    asked = (
        page.post(PATH, json={"idempotencyKey": "key"}),
        page.post(f"{PATH}/eval_1/cancel", json={}),
        page.get(f"{PATH}/eval_1/report"),
        page.get(f"{PATH}/eval_1/report.html"),
    )
    assert [(answer.status_code, answer.get_json()["feature"]) for answer in asked] == [(501, "evaluations")] * 4
    assert routed_cloud.calls("GET", CLOUD_PATH) == []


def test_an_evaluation_is_asked_for_under_the_key_of_the_page(evaluating: Cloud, page: FlaskClient) -> None:
    """So that a page which asks twice gets one evaluation; the key is not among the options."""
    evaluating.answer(
        "POST", CLOUD_PATH, *(Answer(status=status, body={"evaluation": EVALUATION}) for status in (201, 200))
    )
    for _ in range(2):
        answer = page.post(PATH, json={"limit": 20, "maxTokens": 8, "idempotencyKey": "one-key"})
        assert (answer.status_code, answer.get_json()["evaluation"]["id"]) == (200, "eval_1")
    asked = evaluating.calls("POST", CLOUD_PATH)
    assert [request.headers["idempotency-key"] for request in asked] == ["one-key"] * 2
    assert [request.json() for request in asked] == [{"limit": 20, "maxTokens": 8}] * 2


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ([], "idempotencyKey"),
        ({"limit": 20}, "idempotencyKey"),
        ({"limit": 1001, "idempotencyKey": "key"}, "limit"),
        ({"limt": 20, "idempotencyKey": "key"}, "limt"),
        ({"rows": {"type": "blob", "url": "u", "token": "SECRET"}, "idempotencyKey": "key"}, "token"),
    ],
    ids=range(5),
)
def test_an_evaluation_that_cannot_be_asked_for_is_refused(
    evaluating: Cloud, page: FlaskClient, body: object, says: str
) -> None:
    """The answer says why, and nothing is sent to the backend."""
    answer = page.post(PATH, json=body)
    assert (answer.status_code, says in answer.get_json()["error"]) == (400, True), answer.text
    assert "SECRET" not in answer.text
    assert evaluating.calls("POST", CLOUD_PATH) == []


def test_an_evaluation_is_cancelled_once(evaluating: Cloud, page: FlaskClient) -> None:
    """One that has ended is the backend's refusal."""
    ended = Answer(body={"evaluation": {**EVALUATION, "status": "cancelled", "error": "a person cancelled it"}})
    refusal = Answer(status=409, body={"error": "Evaluation eval_1 has ended already; nothing was cancelled."})
    evaluating.answer("POST", f"{CLOUD_PATH}/eval_1/cancel", ended, refusal)
    answer = page.post(f"{PATH}/eval_1/cancel", json={})
    assert answer.get_json()["evaluation"]["error"] == "a person cancelled it"
    again = page.post(f"{PATH}/eval_1/cancel", json={})
    assert (again.status_code, "ended already" in again.get_json()["error"]) == (409, True)


def test_a_report_comes_as_the_backend_has_it(evaluating: Cloud, page: FlaskClient) -> None:
    """With fields of a newer backend; figures that no browser can read are null."""
    gone = Answer(status=410, body={"error": "The report is no longer on the disk."})
    evaluating.answer("GET", f"{CLOUD_PATH}/eval_1/report", Answer(body=REPORT), gone)
    answer = page.get(f"{PATH}/eval_1/report")
    assert answer.mimetype == "application/json"
    assert answer.get_json() == {**REPORT, "ofANewerBackend": {"loss": None}}
    assert page.get(f"{PATH}/eval_1/report").status_code == 410


def test_a_report_is_downloaded_as_a_page(evaluating: Cloud, page: FlaskClient) -> None:
    """Under a name that is safe everywhere; the answers of the model are text in it."""
    evaluating.answer("GET", "/v1/jobs/*/evaluations/*/report", Answer(body=REPORT))
    answer = page.get("/api/jobs/job_1/evaluations/eval%22%0D%0A1/report.html")
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="job_1-eval_1.html"'
    assert answer.text.startswith("<!doctype html>")
    assert (REPORT["verdict"] in answer.text, MARKUP in answer.text) == (True, False)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/eval_1/report", f"{PATH}/eval_1/report.html"])
def test_evaluations_need_the_token_of_this_launch(evaluating: Cloud, page: FlaskClient, path: str) -> None:
    """As every call does; also a download."""
    del page.environ_base["HTTP_X_ARKOR_STUDIO_TOKEN"]
    assert page.get(path).status_code == 403
    assert evaluating.calls("GET", "/v1/jobs/*/evaluations") == []


def test_a_job_of_this_users_own_backend_is_evaluated(home: Path, project: Path, tmp_path: Path) -> None:
    """From the question to the page that one keeps; all processes but the model's are real."""
    with own_backend(home) as backend, served(local=True) as page:
        ours = CloudApiClient.connect("local")
        scope = ensure_project(ours, project)
        client = Client(backend.url, ours.identity.token, scope.org_slug, scope.project_slug)
        ours.close()
        config = {
            "model": str(write_tiny_model(tmp_path / "model")),
            "datasetSource": {"type": "huggingface", "name": "a/b"},
        }
        job_id = str(client.submit("complete:4", config).json()["job"]["id"])
        client.wait_for(job_id, "completed")
        path = f"/api/jobs/{job_id}/evaluations"
        made = page.post(path, {"limit": 5, "idempotencyKey": "key"})
        assert made.status_code == 200, made.text

        def newest() -> dict[str, Any]:
            return dict(page.get(path).json()["evaluations"][-1])

        eventually(lambda: newest()["status"] not in {"queued", "running"}, "the evaluation has ended")
        assert (newest()["id"], newest()["status"]) == (made.json()["evaluation"]["id"], "completed")
        assert newest()["verdict"].startswith("better: +100 points exactly right")
        report = page.get(f"{path}/{newest()['id']}/report").json()
        assert report["table"][0]["answers"]["adapter"]["text"] == "right"
        kept = page.get(f"{path}/{newest()['id']}/report.html")
        assert newest()["verdict"] in kept.text
