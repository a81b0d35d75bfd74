"""Rows as a model sees them: those of a job, and those of the trainer that a run would start.

Protocol: docs/protocol.md, "Previews"; docs/studio.md for what the page sends.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests
from flask import Blueprint, Response, request

from arkor.client.client import CloudApiClient
from arkor.errors import ArkorError
from arkor.http.abort import AbortScope
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Scope
from arkor.serving.refusal import Refusal
from arkor.studio.disconnects import pieces
from arkor.studio.routes.access import ask_project, has_left, studio

blueprint = Blueprint("previews", __name__)

_QUESTION = ("row", "isHeldOut", "around", "search")


@blueprint.post("/api/draft")
def draft() -> dict[str, Any]:
    """Make the rows of the trainer that a run would start ready to be shown; that ends when the browser leaves."""
    return {"draft": studio().drafts.make(studio().upstream.address, has_left())}


@blueprint.post("/api/previews")
def preview() -> Response:
    """Pass a question on, and the answer back as it comes; the backend gives it up once the browser has left."""
    body = request.get_json(silent=True)
    if not isinstance(body, dict) or ("job" in body) == ("draft" in body):
        raise Refusal(400, "The body must be a JSON object with either job or draft.")
    question = {name: body[name] for name in _QUESTION if name in body}

    def ask(client: CloudApiClient, scope: Scope) -> requests.Response:
        return client.open_preview(scope, _config(client, scope, body), question)

    with contextlib.ExitStack() as opened:
        limits = opened.enter_context(studio().departures.watching(has_left()))
        answer = limits.opened(lambda: ask_project(ask))
        opened.callback(answer.close)
        response = Response(_passed_on(answer, limits), mimetype="application/json")
        response.call_on_close(opened.pop_all().close)  # also where nobody read a byte
    return response


def _config(client: CloudApiClient, scope: Scope, body: Mapping[str, Any]) -> JobConfig:
    if "draft" in body:
        return studio().drafts.config(str(body["draft"]))
    return JobConfig.from_wire(client.get_job(scope, str(body["job"])).config)


def _passed_on(answer: requests.Response, limits: AbortScope) -> Iterator[bytes]:
    """Yield the answer; one that is cut while it has line feeds alone becomes the error that says so."""
    try:
        yield from pieces(answer, limits)
    except ArkorError as exc:
        yield json.dumps({"status": 502, "error": f"The backend went away: {exc}"}).encode()
