"""Exports of what a job trained: which there are, asking for one, ending one. Their archives are artifacts of the job.

Protocol: docs/protocol.md, "Exports"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, request

from arkor.client.client import CloudApiClient
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import Scope
from arkor.studio.redact import shown
from arkor.studio.routes.access import ask_project, idempotency_key

blueprint = Blueprint("exports", __name__)


@blueprint.get("/api/jobs/<job_id>/exports")
def index(job_id: str) -> dict[str, Any]:
    """List the exports of a job, the newest last; none if the backend makes none."""
    found = ask_project(lambda client, scope: client.list_exports(scope, job_id))
    return {"exports": [_shown(one) for one in found]}


@blueprint.post("/api/jobs/<job_id>/exports")
def create(job_id: str) -> dict[str, Any]:
    """Ask the backend to export a job, and describe the export."""
    key = idempotency_key()
    given = request.get_json()
    options = ExportOptions.from_wire({name: given[name] for name in given if name != "idempotencyKey"})

    def created(client: CloudApiClient, scope: Scope) -> Export:
        return client.create_export(scope, job_id, options, idempotency_key=key)

    return {"export": _shown(ask_project(created))}


@blueprint.post("/api/jobs/<job_id>/exports/<export_id>/cancel")
def cancel(job_id: str, export_id: str) -> dict[str, Any]:
    """Ask the backend to end an export, and describe it."""
    return {"export": _shown(ask_project(lambda client, scope: client.cancel_export(scope, job_id, export_id)))}


def _shown(export: Export) -> dict[str, Any]:
    body: dict[str, Any] = shown(export.to_wire())
    return body
