"""Projects of an organisation.

Protocol: docs/protocol.md, "Project routing".
"""

from __future__ import annotations

import re
from typing import Any

import attrs
from flask import Blueprint

from arkor.backend.routes.access import backend, json_object, require_org
from arkor.backend.routes.pages import answer, good_cursor, requested_page
from arkor.backend.store.tenants import Project
from arkor.protocol import wire
from arkor.protocol.checks import NAME
from arkor.serving.refusal import Refusal

blueprint = Blueprint("projects", __name__)

_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


@blueprint.post("/v1/projects")
def create() -> tuple[dict[str, Any], int]:
    """Make a project; 409 where the slug is taken."""
    org, body = require_org(), json_object()
    slug = body.get("slug")
    if not isinstance(slug, str) or not _SLUG.fullmatch(slug):
        raise Refusal(422, f"slug: must be 1 to 40 of a-z, 0-9 and -, no dash at either end, not {slug!r:.100}")
    name = body.get("name", slug)
    if not NAME.accepts(name):
        raise Refusal(422, f"name: must be {NAME.words}, not {name!r:.100}")
    project = backend().store.tenants.create_project(org, slug, name)
    if project is None:
        raise Refusal(409, f"{org.slug} has a project {slug} already.")
    return {"project": _to_wire(project)}, 201


@blueprint.get("/v1/projects")
def index() -> dict[str, Any]:
    """List the organisation's projects, oldest first: all of them, or the page that is asked for."""
    org, page = require_org(), requested_page()
    with good_cursor(page):
        found, following = backend().store.tenants.projects(org, limit=page.limit, after=page.after)
    return {"org": attrs.asdict(org), **answer("projects", [_to_wire(item) for item in found], following)}


def _to_wire(project: Project) -> dict[str, Any]:
    return wire.to_wire(project)
