"""A job's events: as they happen, and those that are stored.

Protocol: docs/protocol.md, "The event stream" and "Stored events".
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, Response, request

from arkor.backend.event_streams import NoRoom
from arkor.backend.routes.access import backend, require_job
from arkor.backend.store.events import JobDeleted
from arkor.protocol.metrics import UNNAMED_WIRE_COLUMNS
from arkor.serving.refusal import Refusal
from arkor.serving.takeover import take_over

blueprint = Blueprint("stream", __name__)

_RETRY_AFTER_S = 5
_MOST_EVENTS = 5000
_MOST_FIGURES = 25_000
_LAST_EVENTS = 500
_MOST_COLUMNS = 40
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,39}")


@blueprint.get("/v1/jobs/<job_id>/events/stream")
def stream(job_id: str) -> Response:
    """Send the events behind ``Last-Event-ID``, then each new one, a ping in between, and ``end`` behind the last."""
    job, serving = require_job(job_id), backend()
    after = _event_id(request.headers.get("Last-Event-ID", ""), "Last-Event-ID")
    try:
        taker = serving.streams.open(job.id, after, job.org_id)
    except NoRoom:
        cap = serving.settings.stream_cap
        raise Refusal(
            503, f"All {cap} event streams of this backend are taken.", headers={"Retry-After": str(_RETRY_AFTER_S)}
        ) from None
    except JobDeleted:
        raise Refusal(404, f"Job {job.id} was deleted.") from None
    take_over(request.environ, taker)
    response = Response(iter(()), mimetype="text/event-stream")  # a body of no known length
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


@blueprint.get("/v1/jobs/<job_id>/events")
def stored(job_id: str) -> Response:
    """Send the events behind ``after``, as many as make one answer, and say whether there are more.

    With ``figures=true`` only the last of them come as they are, and of the log events the figures: those that
    ``columns`` names, or else the seven that clients knew before it.
    """
    job, after = require_job(job_id), _event_id(request.args.get("after", ""), "after")
    kept, figures = backend().store.events, ""
    try:
        if request.args.get("figures") == "true":
            rows, events, more = kept.figures(job.id, _columns(), after, _MOST_FIGURES, _LAST_EVENTS)
            figures = f'"figures": [{",".join(rows)}], '
        else:
            events, _ = kept.after(job.id, after, _MOST_EVENTS + 1)
            events, more = events[:_MOST_EVENTS], len(events) > _MOST_EVENTS
    except JobDeleted:
        raise Refusal(404, f"Job {job.id} was deleted.") from None
    pairs = ",\n".join(f'["{event.id}", {event.data}]' for event in events)
    return Response(f'{{{figures}"events": [{pairs}], "more": {str(more).lower()}}}', mimetype="application/json")


def _columns() -> Sequence[str]:
    """Return the fields of log events that a request names; one that no event has is null in every row."""
    given = request.args.get("columns")
    if given is None:
        return UNNAMED_WIRE_COLUMNS
    names = given.split(",")
    if not 2 <= len(names) <= _MOST_COLUMNS or not all(map(_NAME.fullmatch, names)):
        raise Refusal(400, f"columns must be 2 to {_MOST_COLUMNS} names of fields, with commas, not {given!r:.100}")
    return names


def _event_id(given: str, name: str) -> int:
    value = given.strip()
    if not value:
        return 0
    if not value.isascii() or not value.isdigit() or len(value) > 18:
        raise Refusal(400, f"{name} must be the id of an event of this job, not {value!r:.50}")
    return int(value)
