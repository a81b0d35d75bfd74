"""Exports of a job, as the page gets them: which there are, asking for one, ending one."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

pytest.importorskip("plotly")

from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.events import TIMESTAMP

PATH = "/api/jobs/job_1/exports"
CLOUD_PATH = "/v1/jobs/job_1/exports"
OPTIONS = {"to": "gguf", "quantization": "q8_0", "adapterOnly": False, "check": True}
EXPORT = {"id": "export_1", "jobId": "job_1", "status": "queued", "options": OPTIONS, "createdAt": TIMESTAMP}


@pytest.fixture
def exporting(routed_cloud: Cloud) -> Cloud:
    """A backend that makes exports."""
    routed_cloud.features = {"exports"}
    return routed_cloud


def test_exports_are_listed_asked_for_and_cancelled(exporting: Cloud, page: FlaskClient) -> None:
    """As the backend describes them; under the key of the page, which is none of the options."""
    exporting.answer("GET", CLOUD_PATH, Answer(body={"exports": [EXPORT]}))
    assert [one["options"] for one in page.get(PATH).get_json()["exports"]] == [OPTIONS]
    exporting.answer("POST", CLOUD_PATH, Answer(status=201, body={"export": EXPORT}))
    answer = page.post(PATH, json={**OPTIONS, "idempotencyKey": "one-key"})
    assert (answer.status_code, answer.get_json()["export"]["id"]) == (200, "export_1")
    [asked] = exporting.calls("POST", CLOUD_PATH)
    assert (asked.headers["idempotency-key"], asked.json()) == ("one-key", OPTIONS)
    refusal = Answer(status=409, body={"error": "Export export_1 has ended already."})
    exporting.answer("POST", f"{CLOUD_PATH}/export_1/cancel", Answer(body={"export": EXPORT}), refusal)
    assert [page.post(f"{PATH}/export_1/cancel", json={}).status_code for _ in range(2)] == [200, 409]


def test_a_backend_without_exports_has_none(routed_cloud: Cloud, page: FlaskClient) -> None:
    """An empty list; what asks for more is a 501."""
    assert page.get(PATH).get_json() == {"exports": []}
    answer = page.post(PATH, json={**OPTIONS, "idempotencyKey": "key"})
    assert (answer.status_code, answer.get_json()["feature"]) == (501, "exports")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (OPTIONS, "idempotencyKey"),
        ({"to": "gguff", "idempotencyKey": "key"}, "to: must be one of"),
        ({"idempotencyKey": "key"}, "to: is missing"),
        ({"to": "merged", "stepp": 3, "idempotencyKey": "key"}, "did you mean step?"),
    ],
)
def test_an_export_that_cannot_be_asked_for_is_refused(
    exporting: Cloud, page: FlaskClient, body: object, says: str
) -> None:
    """The answer says why, and nothing is sent to the backend."""
    answer = page.post(PATH, json=body)
    assert (answer.status_code, says in answer.get_json()["error"]) == (400, True), answer.text
    assert exporting.calls("POST", CLOUD_PATH) == []
