"""Exports of what a job trained.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint

from arkor.backend.routes.access import (
    backend,
    idempotency_key,
    json_object,
    refusing_reused_keys,
    require_job,
    require_project,
)
from arkor.errors import ConfigError
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import JobStatus
from arkor.serving.refusal import Refusal

blueprint = Blueprint("exports", __name__)


@blueprint.post("/v1/jobs/<job_id>/exports")
def create(job_id: str) -> tuple[dict[str, Any], int]:
    """Queue an export: 201; 200 with the first one for a repeat under the same key; 409 if the job failed."""
    require_project()
    job, serving = require_job(job_id), backend()
    try:
        options = ExportOptions.from_wire(json_object())
    except ConfigError as exc:
        raise Refusal(422, str(exc)) from exc
    if job.is_terminal and job.status != JobStatus.COMPLETED and options.step is None:
        raise Refusal(409, f"Job {job.id} was {job.status}, so it has no adapter to export.")
    with refusing_reused_keys():
        made, is_new = serving.store.exports.create(job.id, options, idempotency_key())
    serving.exports.look()
    return {"export": made.to_wire()}, 201 if is_new else 200


@blueprint.get("/v1/jobs/<job_id>/exports")
def index(job_id: str) -> dict[str, Any]:
    """List the exports of a job, oldest first."""
    return {"exports": [one.to_wire() for one in backend().store.exports.list(require_job(job_id).id)]}


@blueprint.get("/v1/jobs/<job_id>/exports/<export_id>")
def show(job_id: str, export_id: str) -> dict[str, Any]:
    """Describe an export."""
    return {"export": _require(job_id, export_id).to_wire()}


@blueprint.post("/v1/jobs/<job_id>/exports/<export_id>/cancel")
def cancel(job_id: str, export_id: str) -> dict[str, Any]:
    """End an export; 409 for one that has ended already."""
    export = _require(job_id, export_id)
    if not backend().exports.cancel(export.id):
        raise Refusal(409, f"Export {export.id} has ended already; nothing was cancelled.")
    return {"export": _require(job_id, export_id).to_wire()}


def _require(job_id: str, export_id: str) -> Export:
    found = backend().store.exports.get(require_job(job_id).id, export_id)
    if found is None:
        raise Refusal(404, f"Job {job_id:.100} has no export {export_id!r:.100}.")
    return found
