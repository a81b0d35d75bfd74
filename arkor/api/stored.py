"""The client's calls for the events of a job that a backend has stored, thousands at a time.

Protocol: docs/protocol.md, "Stored events".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from arkor.api import wire
from arkor.api.capabilities import CapabilityCalls
from arkor.api.transport import path
from arkor.jobs import Scope
from arkor.metrics import COLUMNS


class StoredEventCalls(CapabilityCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def stored_events(
        self, scope: Scope, job_id: str, *, after: str | None = None
    ) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
        """Return events of a job that are stored, the oldest first, as many as the backend gives at once.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.
            after: begin behind the event of this id; None for the first one.

        Returns:
            (each event's id and its JSON object, as it travels; whether there are more behind these).

        Raises:
            UnsupportedByBackend: the backend tells events in its stream alone.
            NotFound: there is no such job.
        """
        return _stored_events(self._stored(scope, job_id, after))

    def stored_figures(
        self, scope: Scope, job_id: str, *, after: str | None = None
    ) -> tuple[list[Sequence[Any]], list[tuple[str, dict[str, Any]]], bool]:
        """Return the figures of a job's log, as ``stored_events`` does its events, in a fraction of the time.

        Returns:
            (a column for each of ``arkor.metrics.COLUMNS``, with what the log events have there as it travels, None for
            nothing; the last 500 of the events that these are from, each with its id; whether there are more behind).

        Raises:
            UnsupportedByBackend: the backend tells events in its stream alone.
            NotFound: there is no such job.
        """
        body = self._stored(scope, job_id, after, figures="true")
        return _columns(body.get("figures")), *_stored_events(body)

    def _stored(self, scope: Scope, job_id: str, after: str | None, **options: str) -> dict[str, Any]:
        self.require("stored-events", "reading stored events")
        query = {**scope.to_query(), **({"after": after} if after else {}), **options}
        return wire.json_object(self._transport.call("GET", path("v1", "jobs", job_id, "events"), params=query))


def _stored_events(body: Mapping[str, Any]) -> tuple[list[tuple[str, dict[str, Any]]], bool]:
    """Return ids and events, and whether there are more; what is no event is passed over, as in a stream."""
    pairs = body.get("events")
    found = [
        (wire.text(pair[0]), pair[1])
        for pair in (pairs if isinstance(pairs, list) else ())
        if isinstance(pair, list) and len(pair) == 2 and isinstance(pair[1], dict) and pair[1].get("type")
    ]
    return found, bool(found) and body.get("more") is True


def _columns(rows: Any) -> list[Sequence[Any]]:
    """Return the columns of rows on the wire; rows of another length are passed over."""
    width = len(COLUMNS)
    found = rows if isinstance(rows, list) else []
    if not all(type(row) is list and len(row) == width for row in found):
        found = [row for row in found if isinstance(row, list) and len(row) == width]
    return list(zip(*found, strict=True)) if found else [()] * width
