"""Evaluations of what a job trained.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from arkor.backend.jobs.admission import admit_evaluation
from arkor.backend.routes.access import (
    backend,
    idempotency_key,
    json_object,
    refusing_reused_keys,
    require_job,
    require_project,
)
from arkor.backend.routes.sending import send_object
from arkor.protocol.evaluations import Evaluation
from arkor.protocol.jobs import JobStatus
from arkor.protocol.sources import imported_from
from arkor.serving.refusal import Refusal

blueprint = Blueprint("evaluations", __name__)


@blueprint.post("/v1/jobs/<job_id>/evaluations")
def create(job_id: str) -> tuple[dict[str, Any], int]:
    """Queue an evaluation: 201; 200 with the first one for a repeat under the same key; 409 if the job failed."""
    project, job, serving = require_project(), require_job(job_id), backend()
    options = admit_evaluation(json_object(), project, serving.store, serving.storage, serving.settings)
    if job.is_terminal and job.status != JobStatus.COMPLETED:
        raise Refusal(409, f"Job {job.id} was {job.status}, so it has no adapter to evaluate.")
    if imported_from(job.config) is not None and options.source is None and options.limit:
        raise Refusal(422, f"rows: job {job.id} was imported, so it held no rows out: name the rows to ask.")
    with refusing_reused_keys():
        made, is_new = serving.store.evaluations.create(job.id, options, idempotency_key())
    serving.evaluations.look()
    return {"evaluation": made.to_wire()}, 201 if is_new else 200


@blueprint.get("/v1/jobs/<job_id>/evaluations")
def index(job_id: str) -> dict[str, Any]:
    """List the evaluations of a job, oldest first."""
    return {"evaluations": [one.to_wire() for one in backend().store.evaluations.list(require_job(job_id).id)]}


@blueprint.get("/v1/jobs/<job_id>/evaluations/<evaluation_id>")
def show(job_id: str, evaluation_id: str) -> dict[str, Any]:
    """Describe an evaluation."""
    return {"evaluation": _require(job_id, evaluation_id).to_wire()}


@blueprint.post("/v1/jobs/<job_id>/evaluations/<evaluation_id>/cancel")
def cancel(job_id: str, evaluation_id: str) -> dict[str, Any]:
    """End an evaluation; 409 for one that has ended already."""
    evaluation = _require(job_id, evaluation_id)
    if not backend().evaluations.cancel(evaluation.id):
        raise Refusal(409, f"Evaluation {evaluation.id} has ended already; nothing was cancelled.")
    return {"evaluation": _require(job_id, evaluation_id).to_wire()}


@blueprint.get("/v1/jobs/<job_id>/evaluations/<evaluation_id>/report")
def report(job_id: str, evaluation_id: str) -> Response:
    """Send the report of a completed evaluation; 409 for one that has not completed."""
    evaluation = _require(job_id, evaluation_id)
    if evaluation.status != JobStatus.COMPLETED:
        why = f": {evaluation.error}" if evaluation.error else ""
        raise Refusal(409, f"Evaluation {evaluation.id} has no report: it is {evaluation.status}{why}")
    key = backend().evaluations.report_key(evaluation.job_id, evaluation.id)
    response = send_object(backend().storage, key, mimetype="application/json")
    if response is None:
        raise Refusal(410, f"The report of evaluation {evaluation.id} is no longer in the backend's storage.")
    return response


def _require(job_id: str, evaluation_id: str) -> Evaluation:
    found = backend().store.evaluations.get(require_job(job_id).id, evaluation_id)
    if found is None:
        raise Refusal(404, f"Job {job_id:.100} has no evaluation {evaluation_id!r:.100}.")
    return found
