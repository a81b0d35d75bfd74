"""Jobs: make, read, list, cancel, pause, resume, delete.

Protocol: docs/protocol.md, "Jobs", "Pausing a job", "Resuming a job" and "Deleting a job".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint

from arkor.backend.jobs.admission import check_name
from arkor.backend.routes.access import (
    backend,
    idempotency_key,
    json_object,
    refusing_reused_keys,
    require_job,
    require_project,
)
from arkor.backend.routes.pages import answer, good_cursor, requested_page
from arkor.backend.store.jobs import DatasetGone, NewJob
from arkor.protocol.jobs import TrainingJob
from arkor.protocol.wire import python_name
from arkor.serving.refusal import Refusal

blueprint = Blueprint("jobs", __name__)


@blueprint.post("/v1/jobs")
def create() -> tuple[dict[str, Any], int]:
    """Queue a job: 201; 200 with the first one's job for a repeat under the same key; 422 for what cannot be done."""
    project, new = require_project(), _requested()
    return _queued(lambda: backend().creator.create(project, new))


@blueprint.get("/v1/jobs")
def index() -> dict[str, Any]:
    """List the project's jobs, newest first: all of them, or the page that is asked for."""
    project, page = require_project(), requested_page()
    with good_cursor(page):
        found, following = backend().store.jobs.list(project, limit=page.limit, after=page.after)
    return answer("jobs", [job.to_wire() for job in found], following)


@blueprint.get("/v1/jobs/<job_id>")
def show(job_id: str) -> dict[str, Any]:
    """Describe one job; of a queued one, also the job that it waits for."""
    job = require_job(job_id)
    ahead = backend().store.jobs.ahead_of(job)
    return {"job": {**job.to_wire(), **({"waitsFor": ahead} if ahead else {})}}


@blueprint.post("/v1/jobs/<job_id>/cancel")
def cancel(job_id: str) -> dict[str, Any]:
    """Cancel a queued job at once, ask a running one to stop; 409 for one that has ended."""
    job = require_job(job_id)
    if not backend().store.jobs.cancel(job.id):
        raise Refusal(409, f"Job {job.id} has ended already; nothing was cancelled.")
    backend().scheduler.ending(job.id)
    return {"job": require_job(job_id).to_wire()}


@blueprint.post("/v1/jobs/<job_id>/pause")
def pause(job_id: str) -> dict[str, Any]:
    """Pause a queued job at once, ask a running one to save and to pause; 409 for one that has ended."""
    job = require_job(job_id)
    if not backend().store.jobs.pause(job.id):
        raise Refusal(409, f"Job {job.id} has ended already, or is about to: it cannot be paused.")
    backend().scheduler.pausing(job.id)
    return {"job": require_job(job_id).to_wire()}


@blueprint.post("/v1/jobs/<job_id>/unpause")
def unpause(job_id: str) -> dict[str, Any]:
    """Queue a paused job again; 409 for one that is not paused, 503 while one is about to be."""
    job = require_job(job_id)
    if not backend().store.jobs.unpause(job.id):
        if backend().store.queue.is_pausing(job.id):
            raise _try_again(f"Job {job.id} is saving a checkpoint, and paused then")
        raise Refusal(409, f"Job {job.id} is {require_job(job_id).status}, not paused.")
    queued = require_job(job_id).to_wire()  # before it may be started
    backend().scheduler.submitted()
    return {"job": queued}


@blueprint.post("/v1/jobs/<job_id>/resume")
def resume(job_id: str) -> tuple[dict[str, Any], int]:
    """Queue a new job that goes on from the last checkpoint of one that failed or was cancelled: 201, or 200."""
    project, job, key = require_project(), require_job(job_id), idempotency_key()
    _check_worker_left(job)
    return _queued(lambda: backend().creator.resume(project, job, key))


@blueprint.delete("/v1/jobs/<job_id>")
def delete(job_id: str) -> tuple[str, int]:
    """Delete a job that has ended: 204; 409 for one that has not; 503 while its worker is about to leave."""
    job = require_job(job_id)
    if not job.is_terminal:
        raise Refusal(409, f"Job {job.id} is {job.status}: cancel it first.")
    if not backend().delete(job.id):
        raise _worker_leaves(job)
    return "", 204


def _requested() -> NewJob:
    body = json_object()
    config = body.get("config")
    if not isinstance(config, dict):
        raise Refusal(422, "config: must be an object")
    key = idempotency_key()
    return NewJob(name=check_name(body.get("name")), config=config, idempotency_key=key)


def _check_worker_left(job: TrainingJob) -> None:
    if job.is_terminal and backend().store.queue.is_under_way(job.id):
        raise _worker_leaves(job)


def _worker_leaves(job: TrainingJob) -> Refusal:
    return _try_again(f"The worker of job {job.id} is about to leave")


def _try_again(reason: str) -> Refusal:
    return Refusal(503, f"{reason}: try again in a moment.", headers={"Retry-After": "1"})


def _queued(make: Callable[[], tuple[TrainingJob, bool]]) -> tuple[dict[str, Any], int]:
    """Answer with a job that was made now, or before by the same request."""
    try:
        with refusing_reused_keys():
            job, is_new = make()
    except DatasetGone as gone:
        setting = python_name(gone.field)
        raise Refusal(422, f"{setting}: the data set was deleted a moment ago: upload it again") from None
    if is_new:
        backend().evaluations.look()  # one may follow the job
        backend().scheduler.submitted()
    return {"job": job.to_wire()}, 201 if is_new else 200
