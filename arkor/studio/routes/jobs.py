"""The project's jobs: which there are, how they go, what they left; pausing, resuming and stopping them.

Protocol: docs/protocol.md, "Jobs" and "Artifacts"; docs/studio.md for what the page gets.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Hashable, Iterator
from typing import Any

from flask import Blueprint, Response, request

from arkor.client.client import CloudApiClient
from arkor.protocol import wire
from arkor.protocol.jobs import Scope, TrainingJob
from arkor.serving.refusal import Refusal
from arkor.studio.curve import FEWEST_POINTS
from arkor.studio.disconnects import cut_visibly
from arkor.studio.history import csv_lines
from arkor.studio.redact import shown
from arkor.studio.routes.access import ask, ask_project, idempotency_key, studio

POINTS = 2000
MOST_POINTS = 20_000
LISTED = 500
MOST_LISTED = 100_000

blueprint = Blueprint("jobs", __name__)


@blueprint.get("/api/jobs")
def index() -> dict[str, Any]:
    """List the project's newest jobs, the newest first, and say whether there are more; none without a project."""
    limit = _whole_number("limit", LISTED, 1, MOST_LISTED)

    def listed(client: CloudApiClient) -> dict[str, Any]:
        scope = studio().upstream.scope(client)
        found = [] if scope is None else client.list_jobs(scope, limit=limit + 1)
        return {"jobs": [_shown(job, scope) for job in found[:limit]], "more": len(found) > limit}

    return ask(listed)


@blueprint.get("/api/jobs/<job_id>")
def show(job_id: str) -> dict[str, Any]:
    """Describe a job."""
    return {"job": ask_project(lambda client, scope: _shown(client.get_job(scope, job_id), scope))}


@blueprint.get("/api/jobs/<job_id>/metrics")
def metrics(job_id: str) -> Response:
    """Tell the curve of a job in few points, its last events, and where they end."""
    points = _whole_number("points", POINTS, FEWEST_POINTS, MOST_POINTS)

    def told(client: CloudApiClient, scope: Scope) -> str:
        key, histories = _key(scope, job_id), studio().histories
        if histories.has_ended(key):  # nothing is read any more, but the job may have been deleted
            client.get_job(scope, job_id)
        if "stored-events" in client.features:
            return histories.report_figures(
                key,
                points,
                lambda after: client.job_figures(scope, job_id, after=after),
                lambda: client.job_events(scope, job_id),
            )
        return histories.report(key, points, lambda after: client.job_events(scope, job_id, after=after))

    return Response(ask_project(told, patiently=True), mimetype="application/json")


@blueprint.get("/api/jobs/<job_id>/samples")
def samples(job_id: str) -> Response:
    """Tell what the model of a job answered while it was trained."""

    def told(client: CloudApiClient, scope: Scope) -> str:
        client.get_job(scope, job_id)  # of one that has ended nothing is read any more, but it may have been deleted
        key = _key(scope, job_id)
        return studio().histories.report_samples(key, lambda after: client.job_events(scope, job_id, after=after))

    return Response(ask_project(told, patiently=True), mimetype="application/json")


@blueprint.get("/api/jobs/<job_id>/metrics.csv")
def table(job_id: str) -> Response:
    """Send all log events of a job as CSV."""

    def begun(client: CloudApiClient, scope: Scope) -> Iterator[str]:
        events = client.job_events(scope, job_id)
        first = list(itertools.islice(events, 1))  # a refusal is a status, as long as nothing was sent
        return csv_lines(itertools.chain(first, events))

    body = cut_visibly(ask_project(begun, patiently=True), f"The table of job {job_id}")
    response = Response(body, mimetype="text/csv")
    response.headers["Content-Disposition"] = f'attachment; filename="{safe_name(job_id)}.csv"'
    return response


@blueprint.get("/api/jobs/<job_id>/artifacts")
def artifacts(job_id: str) -> dict[str, Any]:
    """List what a job has left."""
    return {"artifacts": ask_project(lambda client, scope: _artifacts(client, scope, job_id))}


@blueprint.post("/api/jobs/<job_id>/artifacts/<name>/link")
def link(job_id: str, name: str) -> dict[str, Any]:
    """Make an address from which the browser can download an artifact, once."""
    known = ask_project(lambda client, scope: _artifacts(client, scope, job_id))
    if not any(artifact["name"] == name for artifact in known):
        raise Refusal(404, f"Job {job_id} has no artifact {name!r:.100}.")
    return {"url": f"/download/{studio().links.make(job_id, name)}"}


@blueprint.post("/api/jobs/<job_id>/cancel")
def cancel(job_id: str) -> dict[str, Any]:
    """Ask the backend to stop a job, and describe it."""

    def cancelled(client: CloudApiClient, scope: Scope) -> dict[str, Any]:
        client.cancel_job(scope, job_id)
        return _shown(client.get_job(scope, job_id), scope)

    return {"job": ask_project(cancelled)}


@blueprint.post("/api/jobs/<job_id>/pause")
def pause(job_id: str) -> dict[str, Any]:
    """Ask the backend to pause a job, and describe it."""
    return {"job": ask_project(lambda client, scope: _shown(client.pause_job(scope, job_id), scope))}


@blueprint.post("/api/jobs/<job_id>/unpause")
def unpause(job_id: str) -> dict[str, Any]:
    """Ask the backend to queue a paused job again, and describe it."""
    return {"job": ask_project(lambda client, scope: _shown(client.unpause_job(scope, job_id), scope))}


@blueprint.post("/api/jobs/<job_id>/resume")
def resume(job_id: str) -> dict[str, Any]:
    """Ask the backend for a new job that goes on from the last checkpoint of another one, and describe the new job."""
    key = idempotency_key()

    def resumed(client: CloudApiClient, scope: Scope) -> dict[str, Any]:
        return _shown(client.resume_job(scope, job_id, idempotency_key=key), scope)

    return {"job": ask_project(resumed)}


def safe_name(text: str) -> str:
    """Return a text such that it can be the name of a file everywhere, and stand in a header."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text).lstrip(".")[:100] or "download"


def _whole_number(name: str, default: int, least: int, most: int) -> int:
    """Return a parameter of the request, moved into its range."""
    given = request.args.get(name, str(default))
    if not (given.isascii() and given.isdigit() and len(given) <= 9):
        raise Refusal(400, f"{name}: must be a whole number from {least} to {most}, not {given!r:.50}")
    return min(max(int(given), least), most)


def _artifacts(client: CloudApiClient, scope: Scope, job_id: str) -> list[dict[str, Any]]:
    return [wire.to_wire(artifact) for artifact in client.list_artifacts(scope, job_id)]


def _shown(job: TrainingJob, scope: Scope | None) -> dict[str, Any]:
    """Return a job as the page gets it; how far it is from what Studio has seen, where the backend does not tell."""
    body: dict[str, Any] = shown(job.to_wire())
    progress = {} if scope is None or body.get("progress") else studio().histories.progress(_key(scope, job.id))
    return {**body, "progress": progress} if progress else body


def _key(scope: Scope, job_id: str) -> Hashable:
    return (studio().upstream.address, scope, job_id)
