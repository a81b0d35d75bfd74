"""The project's trainer."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from arkor.studio.routes.access import studio

blueprint = Blueprint("manifest", __name__)


@blueprint.get("/api/manifest")
def manifest() -> Response:
    """Build the entry anew, and answer with the name of its trainer."""
    return jsonify(studio().manifest.read())
