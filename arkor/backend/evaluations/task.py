"""What the server asks of the process, and the two ways in which the process speaks with it.

The server sends the task first, as one JSON object on a line, with the fields of ``Task``. ``tasks.run`` has what is
said then.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.record import TrainingRecord

REPORT_FILE = "report.json"
REPORT_KIND = "report"  # of the artifact


@attrs.frozen(kw_only=True)
class Task:
    """An evaluation that is to be made.

    Attributes:
        id: the evaluation.
        job_id: the job.
        config: the job's settings.
        prompt_form: how the job's rows were trained: ``chat`` or ``raw``; None if that is not known.
        options: what is asked for.
        candidates: who answers, the one that the others are compared with first.
        model_path: what transformers loads the tokenizer from.
        dataset_path: the job's uploaded rows, or None if they come from elsewhere.
        eval_dataset_path: the same of its held-out rows.
        rows_path: the same of the rows that the options name.
        folder: the evaluation's folder: the answers so far, and the report.
        artifacts_folder: where the report's archive belongs.
        artifact: the archive's name, without ``.tar``.
        allow_private_urls: whether rows may come from hosts that are not on the public internet.
        record: what made the adapter; None if the job did not say.
        max_length: how long the training let an example be, in tokens; None if it cut and dropped nothing.
        trained_loss: what the trainer measured on the held-out rows, in nats a token; None if it did not.
        created_at: when the evaluation was asked for, ISO 8601, UTC.
        known_check: what is known of the adapter that answers, as a report has it; None if it has to be checked.
    """

    id: str
    job_id: str
    config: JobConfig = attrs.field(repr=False)
    prompt_form: str | None
    options: EvaluationOptions
    candidates: Sequence[str]
    model_path: str
    dataset_path: str | None
    eval_dataset_path: str | None
    rows_path: str | None
    folder: Path
    artifacts_folder: Path
    artifact: str
    allow_private_urls: bool
    record: TrainingRecord | None
    max_length: int | None
    trained_loss: float | None
    created_at: str
    known_check: Mapping[str, Any] | None = attrs.field(default=None, hash=False)

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        plain = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {
            **plain,
            "config": self.config.to_wire(),
            "options": self.options.to_wire(),
            "candidates": list(self.candidates),
            "folder": str(self.folder),
            "artifacts_folder": str(self.artifacts_folder),
            "record": self.record and self.record.to_wire(),
        }

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Task:
        """Take what ``to_line`` gave."""
        parsed = {
            "config": JobConfig.from_wire(line["config"]),
            "options": EvaluationOptions.from_wire(line["options"]),
            "folder": Path(line["folder"]),
            "artifacts_folder": Path(line["artifacts_folder"]),
            "record": TrainingRecord.from_wire(line["record"]),
        }
        return cls(**{**line, **parsed})
