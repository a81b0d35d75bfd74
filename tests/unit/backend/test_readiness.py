"""``/readyz``: whether the backend can do its work; ``/healthz`` only says that it answers."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from arkor.backend import readiness
from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from tests.support.eventually import eventually
from tests.support.full_disk import largest_file


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Backend]:
    """A backend that works, without a port."""
    backend = Backend(Settings(data=tmp_path / "data", storage=str(tmp_path / "storage")), "http://127.0.0.1:1")
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


def test_a_storage_that_cannot_be_written_is_not_ready_until_it_can(
    http_of_running: FlaskClient, running: Backend, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the storage is stands in the log alone: the answer needs no login."""
    monkeypatch.setattr(readiness, "_KEPT_S", 0.0)
    folder = Path(running.settings.storage)
    shutil.rmtree(folder)
    folder.touch()
    answer = http_of_running.get("/readyz")
    body = answer.json
    assert body is not None
    assert (answer.status_code, list(body["problems"])) == (503, ["storage"])
    assert str(folder) in caplog.text
    assert str(folder) not in body["error"]
    folder.unlink()
    eventually(lambda: http_of_running.get("/readyz").status_code == 200, "the storage is ready again")


def test_a_storage_that_does_not_answer_is_not_ready(
    http_of_running: FlaskClient, running: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The monitor gets its answer all the same, and one look at a time is under way."""
    monkeypatch.setattr(readiness, "_KEPT_S", 0.0)
    monkeypatch.setattr(readiness, "_PATIENCE_S", 0.1)
    answers, looks = threading.Event(), []

    def look() -> None:
        looks.append(1)
        answers.wait()

    monkeypatch.setattr(running.storage, "check", look)
    for _ in range(3):
        body = http_of_running.get("/readyz").json
        assert body is not None
        assert body["problems"] == {"storage": "It has had no answer for 0.1 s."}
    assert len(looks) == 1
    answers.set()
    eventually(lambda: http_of_running.get("/readyz").status_code == 200, "the storage is ready")


def test_a_stopping_backend_is_not_ready(http_of_running: FlaskClient, running: Backend) -> None:
    """Its load balancer sends it no more requests."""
    running.stopping = True
    assert http_of_running.get("/readyz").status_code == 503
