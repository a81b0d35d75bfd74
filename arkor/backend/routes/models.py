"""The models that this backend knows by name.

Protocol: docs/protocol.md, "Models".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arkor.backend import models
from arkor.backend.routes.access import backend, require_identity
from arkor.serving.refusal import Refusal

blueprint = Blueprint("models", __name__)


@blueprint.get("/v1/models")
def index() -> dict[str, Any]:
    """List the models, each with its pull where one is under way or has failed."""
    require_identity()
    return {"models": [_entry(dict(model)) for model in models.listing()]}


@blueprint.post("/v1/models/<name>/pull")
def pull(name: str) -> tuple[dict[str, Any], int]:
    """Begin to fetch a model: 202, also where that is under way already; 200 where it is ready."""
    require_identity()
    model = next((dict(item) for item in models.listing() if item["id"] == name), None)
    if model is None:
        raise Refusal(404, f"This backend has no model {name!r:.100} to pull; GET /v1/models lists what it has.")
    if model["ready"]:
        return {"model": model}, 200
    backend().pulls.start(name)
    return {"model": _entry(model)}, 202


def _entry(model: dict[str, Any]) -> dict[str, Any]:
    state = backend().pulls.state(str(model["id"]))
    return model if state is None or model["ready"] else {**model, "pull": state.to_wire()}
