"""Who the user is to which backend, and what that one can do. Never a token."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from flask import Blueprint

from arkor.auth.identity import Identity
from arkor.client.client import CloudApiClient
from arkor.errors import ArkorError, ProjectStateError
from arkor.protocol import wire
from arkor.studio.routes.access import ask, studio
from arkor.studio.upstream import refusal_of

blueprint = Blueprint("about", __name__)


@blueprint.get("/api/credentials")
def credentials() -> dict[str, Any]:
    """Describe the identity, the project and the backend; one that is down is told, and is no error of ours."""
    upstream = studio().upstream
    report = dict.fromkeys(("mode", "org", "project", "host", "baseUrl", "backend", "features", "error"))
    report["local"] = upstream.address == "local"  # what a script connects to: its address changes with each start
    try:
        report.update(_who(upstream.identity(), upstream.address))
        ask(lambda client: _look(client, report))
    except ArkorError as exc:
        report["error"] = refusal_of(exc).error
    return report


@blueprint.get("/api/models")
def models() -> dict[str, Any]:
    """List the models that the backend knows by name."""

    def listed(client: CloudApiClient) -> list[dict[str, Any]]:
        models = (wire.to_wire(model) for model in client.list_models())
        return [{name: value for name, value in model.items() if value != {}} for model in models]

    return {"models": ask(listed)}


def _look(client: CloudApiClient, report: dict[str, Any]) -> None:
    """Put into a report what the folder and the backend say; the backend comes last, since it may be down."""
    report.update(_who(client.identity, client.base_url))
    try:
        scope = studio().upstream.scope(client)
    except ProjectStateError:  # the list of jobs says it, with what to do
        scope = None
    if scope is not None:
        report.update(org=scope.org_slug, project=scope.project_slug)
    report["backend"] = wire.optional_text(client.capabilities().get("backend"))
    report["features"] = sorted(client.features)


def _who(identity: Identity | None, base_url: str) -> dict[str, Any]:
    mode = org = None
    if identity is not None:
        mode = identity.credentials.mode if identity.credentials is not None else "token"
        org = identity.org_slug
    return {"mode": mode, "org": org, "host": urlsplit(base_url).netloc or base_url, "baseUrl": base_url}
