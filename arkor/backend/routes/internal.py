"""Where workers report.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, request

from arkor.backend.jobs.worker_report import parse_report
from arkor.backend.routes.access import (
    UNKNOWN_ATTEMPT,
    backend,
    json_object,
    read_challenge,
    require_attempt,
)
from arkor.backend.store.reports import StaleAttempt, UnknownAttempt
from arkor.protocol.proof import CHALLENGE_HEADER, attempt_secret, port_of, proof_of
from arkor.serving.refusal import Refusal

blueprint = Blueprint("internal", __name__)

_ATTEMPT = re.compile(r"[1-9][0-9]{0,8}")


@blueprint.get("/internal/jobs/<job_id>/events")
def prove(job_id: str) -> dict[str, str]:
    """Prove to a worker, which has sent no token yet, that this backend knows the attempt's token.

    Raises:
        Refusal: 400, the attempt or the challenge has another form; 401, there is no such attempt.
    """
    attempt, challenge = request.args.get("attempt", ""), read_challenge()
    if challenge is None or not _ATTEMPT.fullmatch(attempt):
        raise Refusal(400, f"This takes {CHALLENGE_HEADER}, and an attempt that is a whole number from 1 on.")
    serving = backend()
    token_hash = serving.store.reports.token_hash(job_id, int(attempt))
    if token_hash is None:
        raise Refusal(401, "There is no such attempt.")
    return {"proof": proof_of(attempt_secret(token_hash, port_of(serving.url)), challenge)}


@blueprint.post("/internal/jobs/<job_id>/events")
def report(job_id: str) -> dict[str, Any]:
    """Store a worker's events, renew its lease, and say whether it has to stop, and on how many threads to compute.

    If other servers share the database, the answer has their addresses: each of them takes the worker's reports. A
    worker on another machine is not told a number of threads: it shares no cores with chats.
    """
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
    answer: dict[str, Any] = {"cancel": receipt.cancel}
    if serving.settings.trains_here:
        answer["threads"] = serving.inference.balance().worker
    if serving.membership.others:
        answer["servers"] = list(serving.membership.others)
    return answer
