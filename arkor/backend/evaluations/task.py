"""What the process that makes an evaluation is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import attrs

from arkor.backend.tasks.task import WorkTask
from arkor.protocol.evaluations import EvaluationOptions

REPORT_FILE = "report.json"
REPORT_KIND = "report"  # of the artifact


@attrs.frozen(kw_only=True)
class Task(WorkTask):
    """An evaluation that is to be made. Its folder has the answers so far, and the report.

    Attributes:
        candidates: who answers, the one that the others are compared with first.
        rows_path: the uploaded rows that the options name, or None if they come from elsewhere.
        max_length: how long the training let an example be, in tokens; None if it cut and dropped nothing.
        trained_loss: what the trainer measured on the held-out rows, in nats a token; None if it did not.
        created_at: when the evaluation was asked for, ISO 8601, UTC.
        known_check: what is known of the adapter that answers, as a report has it; None if it has to be checked.
    """

    options: EvaluationOptions
    candidates: Sequence[str]
    rows_path: str | None
    max_length: int | None
    trained_loss: float | None
    created_at: str
    known_check: Mapping[str, Any] | None = attrs.field(default=None, hash=False)

    _readers: ClassVar = {**WorkTask._readers, "options": EvaluationOptions.from_wire}
