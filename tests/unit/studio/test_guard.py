"""What keeps other pages away, in the same process: who is let through, and what every answer carries."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask, Response
from flask.testing import FlaskClient
from waitress.channel import ClientDisconnected
from werkzeug.test import EnvironBuilder

from arkor.studio.app import create_app
from arkor.studio.guard import HEADERS, TOKEN_HEADER, Fence
from arkor.studio.routes.access import heard
from arkor.studio.state import Studio

HOST = "127.0.0.1:4000"


@pytest.fixture
def studio(project: Path) -> Studio:
    """A Studio that serves nobody yet."""
    return Studio.of(project, local=False)


@pytest.fixture
def app(studio: Studio) -> Flask:
    """Its application with one more route, which fails."""
    app = create_app(studio)

    def fail() -> str:
        raise RuntimeError("secret words")

    app.add_url_rule("/api/fail", view_func=fail)
    app.wsgi_app = Fence(app.wsgi_app, 4000)  # type: ignore[method-assign]
    return app


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client without a token."""
    return app.test_client()


@pytest.mark.parametrize("host", ["127.0.0.1:4000", "localhost:4000", "LocalHost:4000"])
def test_its_own_names_are_let_in(client: FlaskClient, host: str) -> None:
    """The address and the name that a browser on this machine uses, with the port."""
    assert client.get("/", headers={"Host": host}).status_code == 200


def test_the_standard_port_may_be_left_out(app: Flask, studio: Studio) -> None:
    """Browsers do so."""
    app.wsgi_app = Fence(create_app(studio).wsgi_app, 80)  # type: ignore[method-assign]
    assert app.test_client().get("/", headers={"Host": "localhost"}).status_code == 200


def test_a_notice_with_control_characters_spoils_no_answer(app: Flask, client: FlaskClient) -> None:
    """A browser that finds one in a header drops the whole answer."""

    def notice() -> str:
        heard()["Warning"] = '299 - "old\r\nX: y\x00\x1b[31m"'
        return "fine"

    app.add_url_rule("/static/notice", view_func=notice)
    answer = client.get("/static/notice", headers={"Host": HOST})
    assert (answer.text, answer.headers["Warning"]) == ("fine", '299 - "old  X: y  [31m"')


def test_what_is_open_for_a_browser_that_has_left_is_closed(app: Flask) -> None:
    """Also where it left before the first byte: what streams to it would stay open for ever."""
    closed = threading.Event()

    def stream() -> Response:
        response = Response(iter(["never read"]), mimetype="text/event-stream")
        response.call_on_close(closed.set)
        return response

    def start_response(*_: object) -> Callable[[bytes], object]:
        def write(_: bytes) -> object:
            raise ClientDisconnected

        return write

    app.add_url_rule("/static/stream", view_func=stream)
    environ = EnvironBuilder(path="/static/stream", base_url=f"http://{HOST}").get_environ()
    body = app.wsgi_app(environ, start_response)
    body.close()  # type: ignore[attr-defined]  # as every server does
    assert closed.is_set()


def test_a_failure_tells_no_details_and_is_protected_too(client: FlaskClient, studio: Studio) -> None:
    """The page gets the kind of the error, the terminal the rest."""
    answer = client.get("/api/fail", headers={"Host": HOST, TOKEN_HEADER: studio.token})
    assert answer.status_code == 500
    assert answer.json == {"error": "Studio failed (RuntimeError); its output in the terminal says more."}
    assert set(HEADERS) <= set(answer.headers.items())


def test_a_token_in_the_address_counts_for_reading_events_alone(client: FlaskClient, studio: Studio) -> None:
    """An EventSource can send no header; everything else can."""
    query, host = f"?token={studio.token}", {"Host": HOST}
    assert client.post(f"/api/jobs/job_1/events{query}", headers=host).status_code == 403
    assert client.get(f"/api/train{query}", headers=host).status_code == 403
    wrong = {**host, TOKEN_HEADER: "wrong"}
    assert client.get(f"/api/jobs/job_1/events{query}", headers=wrong).status_code == 403


@pytest.mark.parametrize("token", ["", "x", "\u00e9" * 43])
def test_a_wrong_token_is_refused(client: FlaskClient, token: str) -> None:
    """Also one that is no ASCII."""
    answer = client.get("/api/train", headers={"Host": HOST, TOKEN_HEADER: token})
    assert answer.status_code == 403
    assert answer.json is not None
    assert answer.json["launch"] == "other"


def test_nothing_says_the_token(studio: Studio) -> None:
    """The object that holds it does not show it."""
    assert studio.token not in repr(studio)


def test_a_post_has_to_say_that_it_is_json(client: FlaskClient, studio: Studio) -> None:
    """A form of another page could send everything else."""
    headers = {"Host": HOST, TOKEN_HEADER: studio.token}
    answer = client.post("/api/train", data='{"dryRun": true}', content_type="text/plain", headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"x"',
        b'{"dryRun": 1}',
        b'{"dryRun": null}',
        b'{"file": "x.py"}',
        b'{"dryRun": true, "x": 1}',
        b"{",
    ],
)
def test_a_training_is_started_with_nothing_but_the_switch(client: FlaskClient, studio: Studio, body: bytes) -> None:
    """A field that might choose what is run is refused, and nothing starts."""
    headers = {"Host": HOST, TOKEN_HEADER: studio.token}
    answer = client.post("/api/train", data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.is_json) == (400, True)
    assert studio.runs.state() == {"running": False, "run": None}


def test_a_body_has_a_limit(client: FlaskClient, studio: Studio) -> None:
    """Nobody fills the memory."""
    headers = {"Host": HOST, TOKEN_HEADER: studio.token}
    body = b" " * (17 * 1024**2)
    answer = client.post("/api/train", data=body, content_type="application/json", headers=headers)
    assert (answer.status_code, answer.is_json) == (413, True)
