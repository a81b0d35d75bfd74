"""The client's calls for evaluations of what a job trained.

Protocol: docs/protocol.md, "Evaluations".
"""

from __future__ import annotations

from typing import Any

from arkor.client.capabilities import CapabilityCalls
from arkor.evaluation.report import EvaluationReport
from arkor.protocol import wire
from arkor.protocol.evaluations import Evaluation, EvaluationOptions
from arkor.protocol.jobs import Scope

_WHAT = "evaluations"


class EvaluationCalls(CapabilityCalls):
    """A part of ``CloudApiClient``. Thread-safety: as there."""

    def create_evaluation(
        self, scope: Scope, job_id: str, options: EvaluationOptions, *, idempotency_key: str
    ) -> Evaluation:
        """Have the backend evaluate what a job trained, once the job has completed.

        Args:
            scope: the project it belongs to.
            job_id: the job's whole id.
            options: what to ask, and of whom; rows are on the backend, or the backend fetches them.
            idempotency_key: unique to this request: a repeat returns the first one's evaluation.

        Returns:
            The evaluation; it waits for its turn.

        Raises:
            UnsupportedByBackend: the backend makes no evaluations.
            Conflict: the job failed or was cancelled, or a checkpoint is not there.
            CloudApiError: 422, an option is refused.

        Example:
            ``client.create_evaluation(scope, "job_x4k2", EvaluationOptions(limit=20), idempotency_key=uuid4().hex)``
        """
        self.require("evaluations", _WHAT)
        return _evaluation(
            self._json(
                *("POST", "v1", "jobs", job_id, "evaluations"),
                scope=scope,
                headers={"Idempotency-Key": idempotency_key},
                json=options.to_wire(),
                repeatable=True,
            )
        )

    def list_evaluations(self, scope: Scope, job_id: str) -> list[Evaluation]:
        """Return the evaluations of a job, oldest first; none if the backend makes none."""
        if "evaluations" not in self.features:
            return []
        body = self._json("GET", "v1", "jobs", job_id, "evaluations", scope=scope)
        return [Evaluation.from_wire(item) for item in wire.objects(body.get("evaluations"))]

    def get_evaluation(self, scope: Scope, job_id: str, evaluation_id: str) -> Evaluation:
        """Return an evaluation. Raises NotFound if the job has none of that id."""
        self.require("evaluations", _WHAT)
        return _evaluation(self._json("GET", "v1", "jobs", job_id, "evaluations", evaluation_id, scope=scope))

    def cancel_evaluation(self, scope: Scope, job_id: str, evaluation_id: str) -> Evaluation:
        """End an evaluation. Raises Conflict if it has ended already."""
        self.require("evaluations", _WHAT)
        segments = ("v1", "jobs", job_id, "evaluations", evaluation_id, "cancel")
        return _evaluation(self._json("POST", *segments, scope=scope, repeatable=True))

    def evaluation_report(self, scope: Scope, job_id: str, evaluation_id: str) -> EvaluationReport:
        """Return the report of a completed evaluation.

        Raises:
            Conflict: the evaluation has not completed.
            NotFound: the job has none of that id.
            CloudApiError: 410, the report is no longer on the backend's disk.
        """
        return EvaluationReport.from_wire(self.evaluation_report_json(scope, job_id, evaluation_id))

    def evaluation_report_json(self, scope: Scope, job_id: str, evaluation_id: str) -> dict[str, Any]:
        """Return the report of a completed evaluation as the backend sent it. Raises as ``evaluation_report`` does."""
        self.require("evaluations", _WHAT)
        return self._json("GET", "v1", "jobs", job_id, "evaluations", evaluation_id, "report", scope=scope)


def _evaluation(body: dict[str, Any]) -> Evaluation:
    return Evaluation.from_wire(wire.mapping(body.get("evaluation")))
