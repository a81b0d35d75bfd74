"""The project's trainer."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from arkor.studio.routes.access import studio

blueprint = Blueprint("manifest", __name__)


@blueprint.get("/api/manifest")
def manifest() -> Response:
    """Answer with the name of the trainer that a run would start."""
    return jsonify(studio().manifest.read())
