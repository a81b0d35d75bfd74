"""``/healthz``: plain for everybody, and with a proof for a client that sends a challenge."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from arkor.backend.app import create_app
from arkor.backend.backend import Backend
from arkor.backend.settings import Settings
from arkor.protocol.proof import CHALLENGE_HEADER, is_proof, new_challenge
from arkor.version import __version__

PLAIN = {"status": "ok", "backend": "arkor-local", "version": __version__}
SECRET = "a-secret"


@pytest.fixture
def proving(tmp_path: Path) -> Iterator[FlaskClient]:
    """The application of a backend that has a server file."""
    backend = Backend(Settings(data=tmp_path / "proving"), "http://127.0.0.1:1", SECRET)
    yield create_app(backend).test_client()
    backend.close()


def test_without_a_challenge_the_answer_is_plain(proving: FlaskClient) -> None:
    """As it always was: clients of an older arkor find the backend by it."""
    answer = proving.get("/healthz")
    assert (answer.status_code, answer.json) == (200, PLAIN)


def test_a_challenge_is_answered_with_its_proof(proving: FlaskClient) -> None:
    """Never with the secret, and never twice with the same one."""
    one, two = new_challenge(), new_challenge()
    answer = proving.get("/healthz", headers={CHALLENGE_HEADER: one})
    body = answer.json
    assert body is not None
    assert (answer.status_code, body) == (200, {**PLAIN, "proof": body["proof"]})
    assert is_proof(body["proof"], SECRET, one)
    assert not is_proof(body["proof"], SECRET, two)
    assert SECRET not in answer.text


@pytest.mark.parametrize("challenge", ["", "x", "A" * 64, "0" * 63, "0" * 65, "0" * 10_000])
def test_a_challenge_of_another_form_is_400(proving: FlaskClient, challenge: str) -> None:
    """The backend proves nothing about texts that somebody chose."""
    answer = proving.get("/healthz", headers={CHALLENGE_HEADER: challenge})
    assert answer.status_code == 400
    assert "64 hexadecimal digits" in answer.text


def test_a_backend_without_a_server_file_proves_nothing(http: FlaskClient) -> None:
    """``arkor serve``: nobody has its secret."""
    answer = http.get("/healthz", headers={CHALLENGE_HEADER: new_challenge()})
    assert (answer.status_code, answer.json) == (200, PLAIN)
