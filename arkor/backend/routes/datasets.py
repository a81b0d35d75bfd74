"""Data sets, named by their content.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

import functools
import re
from typing import Any

from flask import Blueprint, request

from arkor.backend.routes.access import backend, require_project
from arkor.backend.uploads import Destination, receive
from arkor.serving.refusal import Refusal

blueprint = Blueprint("datasets", __name__)

_SHA256 = re.compile(r"[0-9a-f]{64}")


def encoding() -> str:
    """Return how the current request's body is compressed, in lower case; empty if it is not."""
    return request.headers.get("Content-Encoding", "").strip().lower()


@blueprint.get("/v1/datasets/<sha256>")
def show(sha256: str) -> dict[str, Any]:
    """Say whether the project has uploaded these bytes."""
    dataset = backend().store.datasets.get(require_project().id, sha256)
    if dataset is None:
        raise Refusal(404, f"This project has no data set {sha256!r:.100}.")
    return {"dataset": dataset.to_wire()}


@blueprint.put("/v1/datasets/<sha256>")
def upload(sha256: str) -> tuple[dict[str, Any], int]:
    """Take in JSONL: 201 where it is new to the project, 200 where it is not."""
    project, serving = require_project(), backend()
    if not _SHA256.fullmatch(sha256):
        raise Refusal(400, "A data set is named by the SHA-256 of its bytes, 64 lowercase hex digits.")
    limit = serving.settings.max_dataset_bytes
    request.max_content_length = limit
    register = functools.partial(serving.store.datasets.add, project.id)
    destination = Destination(serving.settings.datasets_folder, limit, serving.row_checks.count, register)
    dataset, is_new = receive(request.stream, request.content_length or 0, encoding(), sha256, destination)
    return {"dataset": dataset.to_wire()}, 201 if is_new else 200
