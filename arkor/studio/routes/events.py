"""A job's events as they happen, for an EventSource.

Protocol: docs/protocol.md, "The event stream".
"""

from __future__ import annotations

from flask import Blueprint, Response, request

from arkor.serving.refusal import Refusal
from arkor.studio.relay import Relay
from arkor.studio.routes.access import has_left, heard, studio

blueprint = Blueprint("events", __name__)

RETRY_AFTER_S = 5


@blueprint.get("/api/jobs/<job_id>/events")
def events(job_id: str) -> Response:
    """Send the events behind ``Last-Event-ID`` or ``after``, then each new one, pings in between, and ``end``."""
    serving = studio()
    if not serving.stream_slots.acquire(blocking=False):
        raise Refusal(
            503, "Too many event streams are open: close other tabs.", headers={"Retry-After": str(RETRY_AFTER_S)}
        )
    relay = Relay(serving.upstream, job_id, _after())
    try:
        relay.open()
        response = Response(relay.frames(has_left(), serving.ping_s), mimetype="text/event-stream")
    except BaseException:
        relay.close()
        serving.stream_slots.release()
        raise
    finally:
        heard().update(relay.notices)
    response.call_on_close(serving.stream_slots.release)  # also where nobody read a byte
    response.call_on_close(relay.close)
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _after() -> str | None:
    """Return the event to go on behind; the header is newer, since EventSource never changes its address."""
    header = request.headers.get("Last-Event-ID", "").encode("latin-1").decode("utf-8", "replace")  # sent as UTF-8
    return header or request.args.get("after") or None
