"""Asking a model.

Protocol: docs/protocol.md, "Inference".
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from flask import Blueprint, Response

from arkor.backend.inference.completions import Completion, Event, TextCompletion, check
from arkor.backend.inference.process import Answer
from arkor.backend.inference.request import (
    CHAT_FIELDS,
    COMPLETION_FIELDS,
    ChatRequest,
    read_completion,
    read_request,
    spelled,
)
from arkor.backend.inference.targets import Target
from arkor.backend.routes.access import backend, client_watch, json_object, require_project
from arkor.protocol import wire
from arkor.serving.refusal import Refusal

blueprint = Blueprint("inference", __name__)

# A refusal is a status, as long as it comes before this: afterwards the client's patience needs the headers.
_STATUS_S = 10.0
_LOOK_S = 1.0  # between two looks at whether the client is still there


@blueprint.post("/v1/inference/chat")
def chat() -> Response | dict[str, Any]:
    """Answer in chat completions form, as the answer is made or at its end."""
    project, fields = require_project(), spelled(json_object(), CHAT_FIELDS)
    target = backend().targets.find(fields, project)
    return _respond(target, read_request(fields), fields, Completion)


@blueprint.post("/v1/inference/completions")
def complete() -> Response | dict[str, Any]:
    """Go on with a text, without a chat template, in the form of OpenAI's completions."""
    project, fields = require_project(), spelled(json_object(), COMPLETION_FIELDS)
    target = backend().targets.find(fields, project)
    return _respond(target, read_completion(fields), fields, TextCompletion)


def _respond(
    target: Target, asked: ChatRequest, fields: dict[str, Any], form: type[Completion]
) -> Response | dict[str, Any]:
    """Let a model answer, in the form that the request wants.

    Args:
        target: who answers.
        asked: what is asked.
        fields: the request's; ``stream`` and ``streamOptions`` are read.
        form: what makes the answer's JSON.

    Raises:
        Refusal: the question is refused, or the answer failed before anything of it was sent.
    """
    stream = fields.get("stream", True)
    if not isinstance(stream, bool):
        raise Refusal(400, f"stream: must be true or false, not {stream!r:.100}.")
    with_usage = wire.mapping(fields.get("streamOptions")).get("include_usage") is not False
    completion = form(target.name, n=asked.n, has_logprobs=asked.logprobs is not None)
    opened = contextlib.ExitStack()
    try:
        answer = opened.enter_context(backend().inference.ask(target, asked))
        events = _events(answer, client_watch())
        if not stream:
            with opened:
                return completion.whole(events)
        first = _until_accepted(events)
    except BaseException:
        opened.close()
        raise
    frames = completion.stream(_chained(first, events), with_usage=with_usage)
    response = Response(frames, mimetype="text/event-stream")
    response.call_on_close(opened.close)  # also where nobody read a byte
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _events(answer: Answer, has_left: Callable[[], bool]) -> Iterator[Event | None]:
    """Yield what is said, None where nothing was for a while, until the end or until the client has left."""
    serving = backend()
    look_s = min(_LOOK_S, serving.settings.ping_s)
    while not has_left():
        event = answer.next(look_s)
        serving.inference.balance()
        yield event
        if event is not None and ("done" in event or "error" in event):
            return


def _until_accepted(events: Iterator[Event | None]) -> Event | None:
    """Return the first event, or None where there is none in time.

    Raises:
        Refusal: it is one.
    """
    deadline = time.monotonic() + _STATUS_S
    for event in events:
        if event is not None:
            check(event)
        if event is not None or time.monotonic() >= deadline:
            return event
    return None


def _chained(first: Event | None, rest: Iterable[Event | None]) -> Iterator[Event | None]:
    yield first
    yield from rest
