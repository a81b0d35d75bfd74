"""An application's answers are JSON, whatever goes wrong."""

from __future__ import annotations

import logging

import pytest
from flask import Blueprint, Flask, request
from flask.testing import FlaskClient

from arkor.serving.application import MAX_BODY_BYTES, Unexpected, create_json_app
from arkor.serving.refusal import Refusal


@pytest.fixture
def app() -> Flask:
    """An application with a route for each thing that may happen."""
    routes = Blueprint("routes", __name__)

    @routes.get("/fine")
    def fine() -> dict[str, int]:
        return {"z": 1, "a": 2}

    @routes.post("/echo")
    def echo() -> dict[str, object]:
        return {"body": request.get_json()}

    @routes.get("/defect")
    def defect() -> str:
        raise RuntimeError("the details")

    def check() -> None:
        if request.args.get("refuse"):
            raise Refusal(503, "Not now.", headers={"Retry-After": "5"}, feature="x")

    unexpected = Unexpected("The program", "its log", logging.getLogger("arkor.test"))
    return create_json_app("arkor.test", [routes], check=check, unexpected=unexpected)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client of it."""
    return app.test_client()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "//fine", 404), ("POST", "/fine", 405), ("GET", "/defect", 500)],
)
def test_every_error_is_a_json_object(client: FlaskClient, method: str, path: str, status: int) -> None:
    """None is a page, and none a redirect."""
    answer = client.open(path, method=method)
    assert (answer.status_code, list(answer.get_json())) == (status, ["error"])


def test_an_error_keeps_its_headers(client: FlaskClient) -> None:
    """A 405 says which methods there are."""
    assert set(client.post("/fine").headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


def test_a_refused_request_reaches_no_route(client: FlaskClient) -> None:
    """It gets the refusal's status, words, fields and headers."""
    answer = client.get("/defect?refuse=1")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.get_json() == {"error": "Not now.", "feature": "x"}


def test_a_defect_is_told_in_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """The client gets its kind and the place to look."""
    answer = client.get("/defect")
    assert answer.get_json() == {"error": "The program failed (RuntimeError); its log says more."}
    assert "the details" in caplog.text


def test_a_body_has_a_largest_size(client: FlaskClient) -> None:
    """One byte more is a 413; a body that is no JSON is a 400."""
    json_of = {"content_type": "application/json"}
    largest = b'"' + b"x" * (MAX_BODY_BYTES - 2) + b'"'
    assert client.post("/echo", data=largest, **json_of).status_code == 200
    assert client.post("/echo", data=largest + b" ", **json_of).status_code == 413
    assert client.post("/echo", data="{", **json_of).status_code == 400


def test_fields_keep_their_order(client: FlaskClient) -> None:
    """People read these answers, too."""
    assert list(client.get("/fine").get_json()) == ["z", "a"]
