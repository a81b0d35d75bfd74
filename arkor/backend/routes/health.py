"""Whether the backend is there, and what it can do.

Protocol: docs/protocol.md, "Self-hosted backend".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arkor.backend.backend import FEATURES, NAME
from arkor.version import __version__

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def healthz() -> dict[str, Any]:
    """Answer as long as requests are answered at all."""
    return {"status": "ok", "backend": NAME, "version": __version__}


@blueprint.get("/v1/capabilities")
def capabilities() -> dict[str, Any]:
    """Name the features beyond what every backend has."""
    return {"backend": NAME, "version": __version__, "features": list(FEATURES)}
