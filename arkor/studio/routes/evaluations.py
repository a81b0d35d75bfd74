"""Evaluations of what a job trained, and their reports.

Protocol: docs/protocol.md, "Evaluations"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

from typing import Any

from flask import Response

from arkor.client.client import CloudApiClient
from arkor.evaluation.report import EvaluationReport
from arkor.protocol.evaluations import EvaluationOptions
from arkor.studio.redact import json_text, shown
from arkor.studio.routes.access import ask_project
from arkor.studio.routes.jobs import safe_name
from arkor.studio.routes.tasks import task_routes

blueprint = task_routes(
    "evaluation",
    EvaluationOptions.from_wire,
    listing=CloudApiClient.list_evaluations,
    creating=CloudApiClient.create_evaluation,
    cancelling=CloudApiClient.cancel_evaluation,
)


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
