"""The task of an export, as the server tells it to the process that makes one."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from arkor import TrainingResult
from arkor.backend.exports.task import Task
from arkor.protocol.config import JobConfig
from arkor.protocol.exports import ExportOptions
from tests.support.backend import BackendProcess


def export_task(backend: BackendProcess, result: TrainingResult, folder: Path, **options: Any) -> Task:
    """Return the task of an export of a job's final adapter.

    Args:
        backend: has the job.
        result: of the job.
        folder: takes what is made.
        options: of the export.
    """
    config = JobConfig.from_wire(result.job.config)
    tar = backend.job_dir(result.job.id) / "artifacts" / "adapter.tar"
    shutil.unpack_archive(tar, folder / "adapter")
    return Task(
        id="export_1",
        job_id=result.job.id,
        job_name="words",
        config=config,
        prompt_form="chat",
        options=ExportOptions(**options),
        model_path=config.model,
        adapter_path=folder / "adapter",
        adapter_tar=tar,
        dataset_path=str(next((backend.data / "datasets").glob("*.jsonl"))),
        eval_dataset_path=None,
        folder=folder,
        artifacts_folder=folder,
        artifact="export-1",
        allow_private_urls=False,
        record=result.record,
        receipt=result.receipt,
        loss=None,
        report="",
        tools_folder=folder / "tools",
    )
