"""Asking a model: the page's question goes to the backend as it is, and so does the answer.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import requests
from flask import Blueprint, Response, request

from arkor.client.chat import ANSWER_TIMEOUT_S, IDLE_TIMEOUT_S
from arkor.client.client import CloudApiClient
from arkor.http.abort import AbortScope
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.translate import translated
from arkor.serving.refusal import Refusal
from arkor.studio.disconnects import stream_pieces
from arkor.studio.routes.access import ask, has_left, studio

blueprint = Blueprint("inference", __name__)


@blueprint.post("/api/inference/<any(chat, completions):call>")
def answer(call: str) -> Response:
    """Pass a question on, and the answer back as it is made; it is no longer made once the browser has left."""
    question = request.get_json(silent=True)
    if not isinstance(question, dict):
        raise Refusal(400, "The body must be a JSON object.")
    opened = contextlib.ExitStack()
    try:
        limits = opened.enter_context(studio().departures.watching(has_left()))
        response = limits.opened(lambda: ask(lambda client: _open(client, call, question)))
        opened.callback(response.close)
        return _passed_on(response, limits, opened)
    except BaseException:
        opened.close()
        raise


def _open(client: CloudApiClient, call: str, question: Mapping[str, Any]) -> requests.Response:
    scope = studio().upstream.scope(client, create=True)  # as every question does: the backend wants a project
    assert scope is not None  # it was created
    is_streamed = question.get("stream", True) is not False
    timeout_s = (CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S if is_streamed else ANSWER_TIMEOUT_S)
    return client.open_answer(call, scope, question, timeout_s=timeout_s)


def _passed_on(answer: requests.Response, limits: AbortScope, opened: contextlib.ExitStack) -> Response:
    if "text/event-stream" not in answer.headers.get("Content-Type", ""):
        with opened, limits.noticing_the_end(), translated(answer.url.partition("?")[0]):
            return Response(answer.content, mimetype="application/json")
    response = Response(stream_pieces(answer, limits), mimetype="text/event-stream")
    response.call_on_close(opened.close)  # also where nobody read a byte
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Accel-Buffering"] = "no"
    return response
