"""Rows as a model sees them.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from flask import Blueprint, Response

from arkor.backend.inference.targets import ready_model
from arkor.backend.jobs.admission import admit_settings
from arkor.backend.previews import Preview
from arkor.backend.routes.access import backend, client_watch, json_object, require_project
from arkor.backend.whole_numbers import read_whole_number
from arkor.serving.refusal import Refusal

blueprint = Blueprint("previews", __name__)

_LOOK_S = 1.0  # between two looks at whether the client is still there


@blueprint.post("/v1/previews")
def create() -> Response:
    """Show a row, or sum up all of them; 200, and the answer says how that went, once the rows are looked through."""
    project, body, serving = require_project(), json_object(), backend()
    config, row = body.get("config"), body.get("row")
    if not isinstance(config, dict):
        raise Refusal(422, "config: must be an object")
    row = None if row is None else read_whole_number(row, "row")
    admitted = admit_settings(config, project, serving.store.datasets, serving.settings)
    model_path = ready_model(admitted.model, serving.settings.model_root)
    with contextlib.ExitStack() as opened:
        preview = opened.enter_context(serving.previews.start(admitted, model_path, row))
        look_s = min(_LOOK_S, serving.settings.ping_s)
        response = Response(_answer(preview, look_s, client_watch()), mimetype="application/json")
        response.call_on_close(opened.pop_all().close)  # also where nobody read a byte
    response.headers["X-Accel-Buffering"] = "no"
    return response


def _answer(preview: Preview, look_s: float, has_left: Callable[[], bool]) -> Iterator[bytes]:
    """Yield line feeds as signs of life, then the answer; JSON may begin with blanks."""
    while not has_left():
        answer = preview.wait(look_s)
        if answer is not None:
            yield from answer
            return
        yield b"\n"
