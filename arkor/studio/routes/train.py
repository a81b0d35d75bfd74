"""Running the project's trainer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify, request

from arkor.serving.refusal import Refusal
from arkor.studio.routes.access import has_left, studio
from arkor.studio.runs import Run

blueprint = Blueprint("train", __name__)


@blueprint.get("/api/train")
def show() -> Response:
    """Answer with the run under way, or the last one."""
    return jsonify(studio().runs.state())


@blueprint.post("/api/train")
def start() -> Response:
    """Start a run, and answer with its output as it comes."""
    dry_run = _dry_run()
    return _output(lambda: studio().runs.start(dry_run=dry_run))


@blueprint.get("/api/train/log")
def log() -> Response:
    """Answer with the output of the run under way, or of the last one, from its first byte that is kept."""
    return _output(_last)


@blueprint.post("/api/train/stop")
def stop() -> tuple[Response, int]:
    """Stop the run, and cancel its job."""
    studio().runs.stop()
    return jsonify({"stopping": True}), 202


def _dry_run() -> bool:
    """Return what the body asks for. Whatever else it says might be meant to choose the code that is run."""
    body: Any = request.get_json(silent=True) if request.get_data() else {}
    if not isinstance(body, dict) or not isinstance(body.get("dryRun", False), bool) or set(body) - {"dryRun"}:
        raise Refusal(400, 'The body is {"dryRun": true or false}, or {}, and nothing else.')
    return bool(body.get("dryRun", False))


def _last() -> Run:
    run = studio().runs.last
    if run is None:
        raise Refusal(404, "Nothing was run yet.")
    return run


def _output(find: Callable[[], Run]) -> Response:
    """Answer with the output of a run until its end; who leaves does not end it."""
    slots = studio().log_slots
    if not slots.acquire(blocking=False):
        raise Refusal(503, "Too many pages read the log: close other tabs.", headers={"Retry-After": "5"})
    try:
        answer = Response(find().log.follow(has_left()), mimetype="text/plain")
    except BaseException:
        slots.release()
        raise
    answer.call_on_close(slots.release)
    return answer
