"""Evaluations of what a job trained: which there are, asking for one, its report.

Protocol: docs/protocol.md, "Evaluations"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request

from arkor.client.client import CloudApiClient
from arkor.evaluation.report import EvaluationReport
from arkor.protocol.evaluations import Evaluation, EvaluationOptions
from arkor.protocol.jobs import Scope
from arkor.studio.redact import json_text, shown
from arkor.studio.routes.access import ask_project, idempotency_key
from arkor.studio.routes.jobs import safe_name

blueprint = Blueprint("evaluations", __name__)


@blueprint.get("/api/jobs/<job_id>/evaluations")
def index(job_id: str) -> dict[str, Any]:
    """List the evaluations of a job, the newest last; none if the backend makes none."""
    found = ask_project(lambda client, scope: client.list_evaluations(scope, job_id))
    return {"evaluations": [_shown(one) for one in found]}


@blueprint.post("/api/jobs/<job_id>/evaluations")
def create(job_id: str) -> dict[str, Any]:
    """Ask the backend to evaluate a job, and describe the evaluation."""
    key = idempotency_key()
    given = request.get_json()
    options = EvaluationOptions.from_wire({name: given[name] for name in given if name != "idempotencyKey"})

    def created(client: CloudApiClient, scope: Scope) -> Evaluation:
        return client.create_evaluation(scope, job_id, options, idempotency_key=key)

    return {"evaluation": _shown(ask_project(created))}


@blueprint.post("/api/jobs/<job_id>/evaluations/<evaluation_id>/cancel")
def cancel(job_id: str, evaluation_id: str) -> dict[str, Any]:
    """Ask the backend to end an evaluation, and describe it."""
    ended = ask_project(lambda client, scope: client.cancel_evaluation(scope, job_id, evaluation_id))
    return {"evaluation": _shown(ended)}


@blueprint.get("/api/jobs/<job_id>/evaluations/<evaluation_id>/report")
def report(job_id: str, evaluation_id: str) -> Response:
    """Send the report of a completed evaluation, as the backend has it."""
    return Response(json_text(_report(job_id, evaluation_id)), mimetype="application/json")


@blueprint.get("/api/jobs/<job_id>/evaluations/<evaluation_id>/report.html")
def page(job_id: str, evaluation_id: str) -> Response:
    """Send the report of a completed evaluation as a page to keep, which needs nothing else."""
    made = EvaluationReport.from_wire(shown(_report(job_id, evaluation_id)))
    response = Response(made.to_html(), mimetype="text/html")
    name = safe_name(f"{job_id}-{evaluation_id}")
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.html"'
    return response


def _report(job_id: str, evaluation_id: str) -> dict[str, Any]:
    return ask_project(lambda client, scope: client.evaluation_report_json(scope, job_id, evaluation_id))


def _shown(evaluation: Evaluation) -> dict[str, Any]:
    body: dict[str, Any] = shown(evaluation.to_wire())
    return body
