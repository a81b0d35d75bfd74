"""The client's call for a data set as a model sees it.

Protocol: docs/protocol.md, "Previews".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import requests

from arkor.client.capabilities import CapabilityCalls
from arkor.errors import ConnectionFailed, DatasetError, error_for_status
from arkor.http.abort import AbortScope, current_scope
from arkor.http.connections import CONNECT_TIMEOUT_S
from arkor.http.translate import translated
from arkor.http.transport import path
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Scope
from arkor.protocol.previews import RowPreview, TokenSummary

READ_BYTES = 64 * 1024
IDLE_TIMEOUT_S = 60.0  # the backend gives a sign of life every second
_SEARCHING = frozenset({"search", "isHeldOut"})  # parts of a question that an older backend passes over


class PreviewCalls(CapabilityCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def check_rows(self, scope: Scope, config: JobConfig, *, source: str | None = None) -> TokenSummary:
        """Sum up what a job would learn of its rows; no job is created, and nothing is trained.

        Args:
            scope: the project.
            config: the settings of the job; its rows are on the backend, or the backend fetches them.
            source: what to call the rows in an error; by default what the backend calls them.

        Raises:
            DatasetError: the rows cannot be had, or one of them cannot be trained on.
            UnsupportedByBackend: the backend shows no rows.
            CloudApiError: 409, the model is not on the backend's machine; 422, a setting is refused; 503, too many ask.

        Example:
            ``client.check_rows(scope, JobConfig.from_wire(job.config))`` for a job that exists already.
        """
        return TokenSummary.from_wire(wire.mapping(self._preview(scope, config, {}, source).get("summary")))

    def preview_row(
        self, scope: Scope, config: JobConfig, row: int | None = None, *, source: str | None = None
    ) -> RowPreview:
        """Show a row as the model sees it.

        Args:
            scope: the project.
            config: as for ``check_rows``.
            row: its number, from 1; None for the first row.
            source: what to call the rows in an error; by default what the backend calls them.

        Raises:
            As ``check_rows`` does; DatasetError also if there is no such row.
        """
        said = self._preview(scope, config, {"row": row or 0}, source)
        return RowPreview.from_wire(wire.mapping(said.get("preview")))

    def open_preview(self, scope: Scope, config: JobConfig, question: Mapping[str, Any]) -> requests.Response:
        """Ask for a preview.

        Args:
            scope: the project.
            config: as for ``check_rows``.
            question: what the request has beside the config, in wire names; empty for a summary.

        Returns:
            The open answer, a JSON object after line feeds; the caller reads and closes it.

        Raises:
            UnsupportedByBackend: the backend shows no rows, or would pass over the question.
            CloudApiError: as for ``check_rows``.
        """
        self.require("previews", "showing rows as a model sees them")
        if question.keys() & _SEARCHING:
            self.require("row-search", "searching rows")
        return self._transport.call(
            "POST",
            path("v1", "previews"),
            params=scope.to_query(),
            headers={"Accept-Encoding": "identity"},  # compression would hold the signs of life back
            json={"config": config.to_wire(), **question},
            stream=True,
            repeatable=True,
            timeout_s=(CONNECT_TIMEOUT_S, IDLE_TIMEOUT_S),
        )

    def _preview(
        self, scope: Scope, config: JobConfig, question: Mapping[str, Any], source: str | None
    ) -> dict[str, Any]:
        with self.open_preview(scope, config, question) as answer:
            said = _object(b"".join(_pieces(answer, current_scope() or AbortScope(None))))
        if "error" in said:
            raise _failure(said, source)
        return said


def _pieces(answer: requests.Response, limits: AbortScope) -> Iterator[bytes]:
    """Yield the body as it arrives: signs of life, and then all of it."""
    while True:
        limits.limit_reads(IDLE_TIMEOUT_S)
        with limits.noticing_the_end(), translated(answer.url.partition("?")[0]):
            data: bytes = answer.raw.read1(READ_BYTES)
        if not data:
            return
        yield data


def _object(text: bytes) -> dict[str, Any]:
    try:
        return wire.mapping(json.loads(text))
    except (ValueError, RecursionError) as exc:
        raise ConnectionFailed("The answer of the backend was cut before it was whole.") from exc


def _failure(said: Mapping[str, Any], source: str | None) -> Exception:
    """Return the error that an answer holds."""
    status, message = wire.whole_number(said.get("status")) or 500, wire.text(said["error"])
    if "rows" not in said:
        return error_for_status(status, message)
    rows = wire.objects(said["rows"])
    problems = [(wire.whole_number(item.get("row")) or 0, wire.text(item.get("reason"))) for item in rows]
    return DatasetError(source or wire.text(said.get("source")), message, problems)
