"""Whether the backend is there, and what it can do.

Protocol: docs/protocol.md, "Self-hosted backend".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from arkor.backend.backend import FEATURES, NAME
from arkor.backend.routes.access import backend
from arkor.protocol.proof import CHALLENGE_HEADER, is_challenge, proof_of
from arkor.serving.refusal import Refusal
from arkor.version import __version__

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, Any]:
    """Answer as long as requests are answered at all; a challenge with the proof that this is the user's backend.

    Raises:
        Refusal: 400, the challenge has another form.
    """
    answer = {"status": "ok", "backend": NAME, "version": __version__}
    secret, challenge = backend().secret, request.headers.get(CHALLENGE_HEADER)
    if secret is None or challenge is None:
        return answer
    if not is_challenge(challenge):
        raise Refusal(400, f"{CHALLENGE_HEADER} must have 64 hexadecimal digits, in lower case.")
    return {**answer, "proof": proof_of(secret, challenge)}


@blueprint.get("/readyz")
def readyz() -> dict[str, Any]:
    """Say that the backend can do its work.

    Raises:
        Refusal: 503, it cannot; the body has the reasons.
    """
    problems = backend().readiness.problems()
    if problems:
        text = "The backend is not ready. " + " ".join(f"{name}: {reason}" for name, reason in problems.items())
        raise Refusal(503, text, problems=problems)
    return {"status": "ready"}


@blueprint.get("/v1/capabilities")
def capabilities() -> dict[str, Any]:
    """Name the features beyond what every backend has."""
    return {"backend": NAME, "version": __version__, "features": list(FEATURES)}
