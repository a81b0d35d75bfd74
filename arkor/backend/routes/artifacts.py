"""What a job made, to be downloaded.

Protocol: docs/protocol.md, "Artifacts".
"""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from arkor.backend.inference.targets import gone
from arkor.backend.routes.access import backend, require_job
from arkor.backend.routes.pages import answer, bad_cursor, requested_page
from arkor.backend.routes.sending import send_object
from arkor.backend.storage import keys
from arkor.serving.refusal import Refusal

blueprint = Blueprint("artifacts", __name__)


@blueprint.get("/v1/jobs/<job_id>/artifacts")
def index(job_id: str) -> dict[str, Any]:
    """List the artifacts, checkpoints by step, the final one last: all of them, or the page that is asked for."""
    job, page = require_job(job_id), requested_page()
    found = backend().store.events.artifacts(job.id)
    if page.after is not None:  # a removed checkpoint keeps its place
        names = [item.name for item in found]
        if page.after not in names:
            raise bad_cursor(page.after)
        found = found[names.index(page.after) + 1 :]
    shown = found[: page.limit]
    stored = frozenset(backend().storage.keys(keys.artifacts(job.id)))
    kept = [item.to_wire() for item in shown if keys.artifact(job.id, item.name) in stored]
    return answer("artifacts", kept, shown[-1].name if len(shown) < len(found) else None)


@blueprint.get("/v1/jobs/<job_id>/artifacts/<name>")
def download(job_id: str, name: str) -> Response:
    """Send an artifact's tar, or the part that ``Range`` names; its ETag is its SHA-256."""
    job, serving = require_job(job_id), backend()
    artifact = next((item for item in serving.store.events.artifacts(job.id) if item.name == name), None)
    if artifact is None:  # only a registered name ever becomes a path
        raise Refusal(404, f"Job {job.id} has no artifact {name!r:.100}.")
    response = send_object(
        serving.storage,
        keys.artifact(job.id, artifact.name),
        mimetype="application/x-tar",
        download_name=f"{artifact.name}.tar",
        etag=artifact.sha256,
    )
    if response is None:
        raise gone(job.id, artifact)
    response.headers["Cache-Control"] = "private, no-cache"
    return response
