"""What the process that makes an export is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import ClassVar

import attrs

from arkor.backend.tasks.task import WorkTask
from arkor.protocol.exports import ExportOptions
from arkor.protocol.receipt import Receipt

MODEL = "model"  # the only one that the process asks
MADE = "made"  # the folder, in that of the export, in which it is made
PARTS = "parts"  # the folder beside it, of files that are needed while it is made and checked
ADAPTER = "adapter.tar"  # the file beside them, if the archive is not on this machine
KIND = "export"  # of the artifact


@attrs.frozen(kw_only=True)
class Task(WorkTask):
    """An export that is to be made.

    Attributes:
        job_name: what the job is called.
        adapter_path: the folder with the adapter's weights.
        adapter_tar: the adapter's archive, as the job left it.
        receipt: what became of the rows; None if the job did not say.
        loss: of the held-out rows with the adapter, in nats a token; None if it was not measured.
        report: the verdict of the newest report of the job; empty if there is none.
        tools_folder: where programs are kept that were fetched to convert models.
    """

    options: ExportOptions
    job_name: str
    adapter_path: Path
    adapter_tar: Path
    receipt: Receipt | None
    loss: float | None
    report: str
    tools_folder: Path

    _readers: ClassVar = {
        **WorkTask._readers,
        "options": ExportOptions.from_wire,
        "adapter_path": Path,
        "adapter_tar": Path,
        "tools_folder": Path,
        "receipt": Receipt.from_wire,
    }

    @property
    def made(self) -> Path:
        """The folder in which the export is made."""
        return self.folder / MADE

    @property
    def parts(self) -> Path:
        """The folder of files that are needed while it is made and checked."""
        return self.folder / PARTS

    @property
    def short_name(self) -> str:
        """The job's name as part of a file's name: lowercase letters, digits and dashes."""
        return "-".join(re.findall(r"[a-z0-9]+", self.job_name.lower())) or "adapter"
