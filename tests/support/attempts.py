"""Attempts at jobs, for the code of the worker that needs no backend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from arkor.backend.training_worker.spec import WorkerSpec
from arkor.protocol.config import JobConfig

UPLOADED = {"type": "dataset", "id": "0" * 64}


def attempt(config: JobConfig, folder: Path, rows: Path | None, **fields: Any) -> WorkerSpec:
    """Return the first attempt at a job.

    Args:
        config: its settings.
        folder: its folder.
        rows: the rows that were uploaded for it, or None.
        fields: of the spec, if they are others.
    """
    usual: dict[str, Any] = {
        "job_id": "job_1",
        "attempt": 1,
        "token": "t",
        "backend_url": "http://127.0.0.1:1",
        "name": "n",
        "threads": 1,
    }
    return WorkerSpec(config=config, dataset_path=rows, job_dir=folder, **{**usual, **fields})
