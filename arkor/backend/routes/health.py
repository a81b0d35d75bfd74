"""Whether the backend is there, and what it can do.

Protocol: docs/protocol.md, "Self-hosted backend".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arkor.backend.backend import FEATURES, NAME
from arkor.backend.routes.access import backend, read_challenge
from arkor.protocol.proof import proof_of
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
    secret, challenge = backend().secret, read_challenge()
    if secret is None or challenge is None:
        return answer
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
    """Name the features beyond what every backend has, and who answers chats."""
    chat = backend().engines.describe()
    return {"backend": NAME, "version": __version__, "features": list(FEATURES), "chat": chat}
