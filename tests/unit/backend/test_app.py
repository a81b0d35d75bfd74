"""Errors that a real server cannot be made to have: a full disk, a defect."""

from __future__ import annotations

import errno
import hashlib
import io
import os
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.exc import OperationalError

from arkor.backend.backend import Backend

SCOPE = {"projectSlug": "p"}
CLIENT = {"X-Arkor-Client": "arkor/0"}
ROWS = b'{"text": "a"}\n'
PATH = f"/v1/datasets/{hashlib.sha256(ROWS).hexdigest()}"


@pytest.fixture
def upload(backend: Backend, http: FlaskClient) -> dict[str, Any]:
    """The arguments of a PUT that would succeed."""
    token, identity = backend.store.tenants.create_anonymous("cli")
    backend.store.tenants.create_project(identity.org, "p", "P")
    return {
        "query_string": {**SCOPE, "orgSlug": identity.org.slug},
        "headers": {**CLIENT, "Authorization": f"Bearer {token}"},
        "data": ROWS,
    }


class FullDisk(io.BytesIO):
    """A file on a disk without space."""

    def write(self, _: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_is_507_and_leaves_nothing(
    backend: Backend, http: FlaskClient, upload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says what to do; once there is space, the same upload succeeds."""

    def open_full(handle: int, _mode: str) -> FullDisk:
        os.close(handle)
        return FullDisk()

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", open_full)
        answer = http.put(PATH, **upload)
    assert answer.status_code == 507
    assert "no space left" in answer.get_json()["error"]
    assert list(backend.settings.datasets_folder.iterdir()) == []
    assert http.put(PATH, **upload).status_code == 201


def test_a_database_without_space_is_507(
    backend: Backend, http: FlaskClient, upload: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite says it in its own words."""

    def full(*_: object) -> None:
        raise OperationalError("INSERT", {}, Exception("database or disk is full"))

    monkeypatch.setattr(backend.store.tenants, "create_anonymous", full)
    assert http.post("/v1/auth/anonymous", json={}, headers=CLIENT).status_code == 507


def test_a_defect_is_500_without_its_details(
    backend: Backend, http: FlaskClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are in the log."""

    def broken(*_: object) -> None:
        raise RuntimeError("the details")

    monkeypatch.setattr(backend.store.tenants, "create_anonymous", broken)
    answer = http.post("/v1/auth/anonymous", json={}, headers=CLIENT)
    assert (answer.status_code, list(answer.get_json())) == (500, ["error"])
    assert "the details" not in answer.text
    assert "the details" in caplog.text


def test_a_stopping_backend_listens_to_workers_alone(backend: Backend, http: FlaskClient) -> None:
    """Others are told to come back."""
    backend.stopping = True
    answer = http.get("/v1/capabilities", headers=CLIENT)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    said = http.post("/internal/jobs/x/events", json={"attempt": 1, "events": []}, headers=CLIENT)
    assert said.status_code == 401  # it was heard, and has no token


@pytest.mark.parametrize("path", ["/v1//me", "/v1/me/"])
def test_no_answer_is_a_redirect(http: FlaskClient, path: str) -> None:
    """A client that follows one would lose its token or its body."""
    assert http.get(path, headers=CLIENT).status_code == 404
