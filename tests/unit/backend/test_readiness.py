"""``/readyz``: whether the backend can do its work; ``/healthz`` only says that it answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from arkor.backend import readiness
from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from tests.support.full_disk import largest_file


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Backend]:
    """A backend that works, without a port."""
    backend = Backend(Settings(data=tmp_path / "data"), "http://127.0.0.1:1")
    backend.start()
    yield backend
    backend.stop()
    backend.close()


@pytest.fixture
def http_of_running(running: Backend) -> FlaskClient:
    """Its application. No request has a header of arkor's clients: a probe sends none."""
    return create_app(running).test_client()


def test_a_backend_that_works_is_ready(http_of_running: FlaskClient, running: Backend) -> None:
    """And the probe leaves no file."""
    before = sorted(running.settings.data.iterdir())
    answer = http_of_running.get("/readyz")
    assert (answer.status_code, answer.json) == (200, {"status": "ready"})
    assert sorted(running.settings.data.iterdir()) == before


def test_a_disk_that_is_nearly_full_is_not_ready(http_of_running: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason says how much is free and needed; ``/healthz`` stays as it is."""
    monkeypatch.setattr(readiness, "LEAST_FREE_BYTES", 2**60)
    answer = http_of_running.get("/readyz")
    body = answer.json
    assert body is not None
    assert (answer.status_code, list(body["problems"])) == (503, ["disk"])
    assert f"{2**40} MiB are needed" in body["error"]
    assert http_of_running.get("/healthz").status_code == 200


def test_a_disk_that_takes_nothing_is_not_ready(http_of_running: FlaskClient) -> None:
    """Neither a small file nor the database."""
    with largest_file(0):
        answer = http_of_running.get("/readyz")
    body = answer.json
    assert body is not None
    assert (answer.status_code, set(body["problems"])) == (503, {"disk", "database"})


def test_a_backend_whose_scheduler_does_not_run_is_not_ready(http: FlaskClient) -> None:
    """Jobs would wait for ever."""
    body = http.get("/readyz").json
    assert body is not None
    assert list(body["problems"]) == ["scheduler"]


def test_a_scheduler_that_is_stuck_is_not_ready(http_of_running: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has given no sign of life for too long."""
    monkeypatch.setattr(readiness, "LONGEST_SILENCE_S", -1.0)
    body = http_of_running.get("/readyz").json
    assert body is not None
    assert "has not moved for" in body["problems"]["scheduler"]


def test_a_stopping_backend_is_not_ready(http_of_running: FlaskClient, running: Backend) -> None:
    """Its load balancer sends it no more requests."""
    running.stopping = True
    assert http_of_running.get("/readyz").status_code == 503
