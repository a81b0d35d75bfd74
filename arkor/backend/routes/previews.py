"""Rows as a model sees them.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from flask import Blueprint, Response

from arkor.backend.inference.targets import ready_model
from arkor.backend.jobs.admission import admit_settings
from arkor.backend.previews import Preview
from arkor.backend.routes.access import backend, client_watch, json_object, require_project
from arkor.backend.whole_numbers import read_whole_number
from arkor.protocol.previews import LONGEST_SEARCH, MOST_AROUND, MOST_HITS
from arkor.serving.refusal import Refusal

blueprint = Blueprint("previews", __name__)

_LOOK_S = 1.0  # between two looks at whether the client is still there
_HITS = 20  # of a page, where the client does not say


@blueprint.post("/v1/previews")
def create() -> Response:
    """Show rows, find some, or sum up all; 200, and the answer says how that went, once the rows are looked through."""
    project, body, serving = require_project(), json_object(), backend()
    config = body.get("config")
    if not isinstance(config, dict):
        raise Refusal(422, "config: must be an object")
    question = _question(body)
    admitted = admit_settings(config, project, serving.store.datasets, serving.settings)
    model_path = ready_model(admitted.model, serving.settings.model_root)
    with contextlib.ExitStack() as opened:
        preview = opened.enter_context(serving.previews.start(admitted, model_path, question))
        look_s = min(_LOOK_S, serving.settings.ping_s)
        response = Response(_answer(preview, look_s, client_watch()), mimetype="application/json")
        response.call_on_close(opened.pop_all().close)  # also where nobody read a byte
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _question(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the preview process is asked, beside the config.

    Raises:
        Refusal: 400, a part of it is of another type or out of its range.
    """
    if body.get("search") is not None:
        return {"search": _search(body["search"])}
    if body.get("row") is None:
        return {}
    around = read_whole_number(body.get("around", 0), "around", largest=MOST_AROUND)
    return {"row": read_whole_number(body["row"], "row"), "isHeldOut": _flag(body, "isHeldOut"), "around": around}


def _search(given: Any) -> dict[str, Any]:
    text = given.get("text", "") if isinstance(given, dict) else None
    if not isinstance(text, str) or len(text) > LONGEST_SEARCH:
        raise Refusal(400, f"search: must be an object, with a text of at most {LONGEST_SEARCH} characters.")
    return {
        "text": text,
        "isHeldOut": _flag(given, "isHeldOut"),
        "offset": read_whole_number(given.get("offset", 0), "offset"),
        "limit": read_whole_number(given.get("limit", _HITS), "limit", 1, MOST_HITS),
    }


def _flag(body: Mapping[str, Any], name: str) -> bool | None:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise Refusal(400, f"{name}: must be true or false, not {value!r:.100}.")
    return value


def _answer(preview: Preview, look_s: float, has_left: Callable[[], bool]) -> Iterator[bytes]:
    """Yield line feeds as signs of life, then the answer; JSON may begin with blanks."""
    while not has_left():
        answer = preview.wait(look_s)
        if answer is not None:
            yield from answer
            return
        yield b"\n"
