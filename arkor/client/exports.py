"""The client's calls for exports of what a job trained.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

from typing import Any

from arkor.client.capabilities import CapabilityCalls
from arkor.protocol import wire
from arkor.protocol.exports import Export, ExportOptions
from arkor.protocol.jobs import Scope

_WHAT = "exports"


class ExportCalls(CapabilityCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def create_export(self, scope: Scope, job_id: str, options: ExportOptions, *, idempotency_key: str) -> Export:
        """Have the backend export what a job trained, once the job has completed.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.
            options: what it is to be.
            idempotency_key: unique to this request: a repeat returns the first one's export.

        Returns:
            The export; it waits for its turn.

        Raises:
            UnsupportedByBackend: the backend makes no exports.
            Conflict: the job failed or was cancelled.
            CloudApiError: 422, an option is refused.

        Example:
            ``client.create_export(scope, "job_x4k2", ExportOptions(to="merged"), idempotency_key=uuid4().hex)``
        """
        self.require("exports", _WHAT)
        return _export(
            self._json(
                *("POST", "v1", "jobs", job_id, "exports"),
                scope=scope,
                headers={"Idempotency-Key": idempotency_key},
                json=options.to_wire(),
                repeatable=True,
            )
        )

    def list_exports(self, scope: Scope, job_id: str) -> list[Export]:
        """Return the exports of a job, oldest first; none if the backend makes none."""
        if "exports" not in self.features:
            return []
        body = self._json("GET", "v1", "jobs", job_id, "exports", scope=scope)
        return [Export.from_wire(item) for item in wire.objects(body.get("exports"))]

    def get_export(self, scope: Scope, job_id: str, export_id: str) -> Export:
        """Return an export. Raises NotFound if the job has none of that id."""
        self.require("exports", _WHAT)
        return _export(self._json("GET", "v1", "jobs", job_id, "exports", export_id, scope=scope))

    def cancel_export(self, scope: Scope, job_id: str, export_id: str) -> Export:
        """End an export. Raises Conflict if it has ended already."""
        self.require("exports", _WHAT)
        segments = ("v1", "jobs", job_id, "exports", export_id, "cancel")
        return _export(self._json("POST", *segments, scope=scope, repeatable=True))


def _export(body: dict[str, Any]) -> Export:
    return Export.from_wire(wire.mapping(body.get("export")))
