"""Reading a worker's report: checked strictly, numbers made finite.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from arkor.backend.store.reports import WorkerEvent
from arkor.backend.whole_numbers import read_whole_number
from arkor.protocol import wire
from arkor.protocol.events import BACKEND_EVENT_TYPES, EVENT_TYPES
from arkor.protocol.jobs import Artifact
from arkor.serving.refusal import Refusal

# An artifact's name becomes a file name: nothing in it may lead out of the job's folder.
_ARTIFACT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TYPES = EVENT_TYPES - BACKEND_EVENT_TYPES
_NEED_STEP = frozenset({"training.log", "checkpoint.saved", "sample.made"})
_LARGEST_SAMPLE = 64 * 1024  # bytes, as JSON; a worker cuts its answers so that they stay far below


@attrs.frozen
class Report:
    """What a worker says: which attempt it works on, and what happened since its last report."""

    attempt: int
    events: list[WorkerEvent]


def parse_report(body: Mapping[str, Any]) -> Report:
    """Read a report's JSON object.

    Raises:
        Refusal: 400, something in it breaks the protocol.
    """
    attempt, items = read_whole_number(body.get("attempt"), "attempt", 1), body.get("events")
    if not isinstance(items, list):
        raise Refusal(400, "events: must be a list")
    events = [_event(item) for item in items]
    for earlier, later in itertools.pairwise(events):
        if later.seq <= earlier.seq:
            raise Refusal(400, f"events: seq {later.seq} follows {earlier.seq}; it must grow")
    return Report(attempt, events)


def _event(item: Any) -> WorkerEvent:
    if not isinstance(item, Mapping):
        raise Refusal(400, "events: each must be an object")
    fields = dict(wire.finite(item))
    seq, kind = read_whole_number(fields.pop("seq", None), "seq", 1), fields.pop("type", None)
    if not isinstance(kind, str) or kind not in _TYPES:
        raise Refusal(400, f"events: type must be one of {', '.join(sorted(_TYPES))}, not {kind!r:.100}")
    if kind in _NEED_STEP or fields.get("step") is not None:
        fields["step"] = read_whole_number(fields.get("step"), "step")
    if kind == "sample.made":
        _check_sample(fields)
    if not isinstance(fields.get("timestamp"), str):
        fields.pop("timestamp", None)
    return WorkerEvent(seq, kind, fields, _artifacts(fields.get("artifacts")))


def _check_sample(fields: dict[str, Any]) -> None:
    fields["sample"] = read_whole_number(fields.get("sample"), "sample")
    size = len(json.dumps(fields, ensure_ascii=False).encode())
    if size > _LARGEST_SAMPLE:
        raise Refusal(400, f"events: a sample has at most {_LARGEST_SAMPLE} bytes, not {size}")


def _artifacts(items: Any) -> tuple[Artifact, ...]:
    found = Artifact.list_from_wire(items)
    for artifact in found:
        if not _ARTIFACT_NAME.fullmatch(artifact.name):
            raise Refusal(400, f"artifacts: {artifact.name!r:.120} cannot be a name")
        if not _SHA256.fullmatch(artifact.sha256 or ""):
            raise Refusal(400, f"artifacts: {artifact.name} needs sha256")
        read_whole_number(artifact.size_bytes, f"artifacts: {artifact.name}: sizeBytes", 1)
        if artifact.step is not None:
            read_whole_number(artifact.step, f"artifacts: {artifact.name}: step")
    return found
