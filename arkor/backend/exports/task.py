"""What the process that makes an export is told first; ``tasks.run`` has what is said then."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.protocol.config import JobConfig
from arkor.protocol.exports import ExportOptions
from arkor.protocol.receipt import Receipt
from arkor.protocol.record import TrainingRecord

MODEL = "model"  # the only one that the process asks
MADE = "made"  # the folder, in that of the export, in which it is made
KIND = "export"  # of the artifact


@attrs.frozen(kw_only=True)
class Task:
    """An export that is to be made.

    Attributes:
        id: the export.
        job_id: the job.
        job_name: what the job is called.
        config: the job's settings.
        prompt_form: how the job's rows were trained: ``chat`` or ``raw``; None if that is not known.
        options: what is asked for.
        model_path: what transformers loads the base model from.
        adapter_path: the folder with the adapter's weights.
        adapter_tar: the adapter's archive, as the job left it.
        dataset_path: the job's uploaded rows, or None if they come from elsewhere.
        eval_dataset_path: the same of its held-out rows.
        folder: the export's folder.
        artifacts_folder: where the archive belongs.
        artifact: the archive's name, without ``.tar``.
        allow_private_urls: whether rows may come from hosts that are not on the public internet.
        record: what made the adapter; None if the job did not say.
        receipt: what became of the rows; None if the job did not say.
        loss: of the held-out rows with the adapter, in nats a token; None if it was not measured.
        report: the verdict of the newest report of the job; empty if there is none.
    """

    id: str
    job_id: str
    job_name: str
    config: JobConfig = attrs.field(repr=False)
    prompt_form: str | None
    options: ExportOptions
    model_path: str
    adapter_path: Path
    adapter_tar: Path
    dataset_path: str | None
    eval_dataset_path: str | None
    folder: Path
    artifacts_folder: Path
    artifact: str
    allow_private_urls: bool
    record: TrainingRecord | None
    receipt: Receipt | None
    loss: float | None
    report: str

    @property
    def made(self) -> Path:
        """The folder in which the export is made."""
        return self.folder / MADE

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        plain = {field.name: getattr(self, field.name) for field in attrs.fields(type(self))}
        return {
            **plain,
            "config": self.config.to_wire(),
            "options": self.options.to_wire(),
            "adapter_path": str(self.adapter_path),
            "adapter_tar": str(self.adapter_tar),
            "folder": str(self.folder),
            "artifacts_folder": str(self.artifacts_folder),
            "record": self.record and self.record.to_wire(),
            "receipt": self.receipt and self.receipt.to_wire(),
        }

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Task:
        """Take what ``to_line`` gave."""
        parsed = {
            "config": JobConfig.from_wire(line["config"]),
            "options": ExportOptions.from_wire(line["options"]),
            "adapter_path": Path(line["adapter_path"]),
            "adapter_tar": Path(line["adapter_tar"]),
            "folder": Path(line["folder"]),
            "artifacts_folder": Path(line["artifacts_folder"]),
            "record": TrainingRecord.from_wire(line["record"]),
            "receipt": Receipt.from_wire(line["receipt"]),
        }
        return cls(**{**line, **parsed})
