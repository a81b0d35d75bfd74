"""Where workers report.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

from flask import Blueprint

from arkor.backend.jobs.worker_report import parse_report
from arkor.backend.routes.access import UNKNOWN_ATTEMPT, backend, json_object, require_attempt
from arkor.backend.store.reports import StaleAttempt, UnknownAttempt
from arkor.serving.refusal import Refusal

blueprint = Blueprint("internal", __name__)


@blueprint.post("/internal/jobs/<job_id>/events")
def report(job_id: str) -> dict[str, bool | int]:
    """Store a worker's events, renew its lease, and say whether it has to stop and on how many threads to compute."""
    token, serving, said = require_attempt(job_id), backend(), parse_report(json_object())
    try:
        receipt = serving.store.reports.receive(job_id, said.attempt, token, said.events)
    except UnknownAttempt:
        raise Refusal(401, UNKNOWN_ATTEMPT) from None
    except StaleAttempt:
        raise Refusal(409, f"Attempt {said.attempt} of {job_id} is over: another has taken its place.") from None
    serving.scheduler.heard_from(job_id, said.attempt)
    if receipt.ended:
        serving.scheduler.ending(job_id)
    return {"cancel": receipt.cancel, "threads": serving.inference.balance().worker}
