"""The rows of a job, as it trained on them and held them out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.backend.tasks.task import WorkTask
from arkor.backend.training_worker.rows.load import Rows, RowSet, fetch_rows, load_rows
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.backend.training_worker.rows.spool import Spool
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.record import TrainingRecord


def job_rows(task: WorkTask) -> Rows:
    """Return the rows of the job.

    Returns:
        Those that it trained on, and those that it held out; none of either for an imported job.

    Raises:
        DatasetError: they cannot be had any more, or have changed since.
    """
    if task.is_imported:
        empty = RowSet("the imported adapter", "chatml", Spool(task.folder).rows())
        return Rows(empty, empty)
    spec = rows_spec(task, task.config, task.dataset_path, task.eval_dataset_path)
    sources = fetch_rows(spec)
    _check_same(sources.described(), task.record)
    return load_rows(spec, sources=sources)


def rows_spec(task: WorkTask, config: JobConfig, path: str | None, eval_path: str | None = None) -> RowsSpec:
    """Return what names rows.

    Args:
        task: its folder takes what is fetched.
        config: the sources.
        path: the uploaded rows, or None.
        eval_path: the uploaded held-out rows, or None.
    """
    return RowsSpec(
        config=config,
        dataset_path=path,
        eval_dataset_path=eval_path,
        job_dir=task.folder,
        allow_private_urls=task.allow_private_urls,
    )


def _check_same(found: Mapping[str, Mapping[str, Any]], record: TrainingRecord | None) -> None:
    """Refuse rows that are no longer those of the training, as far as its record tells."""
    if record is None:
        return
    for now, then in ((found.get("rows"), record.rows), (found.get("held_out_rows"), record.held_out_rows)):
        for name in ("sha256", "fingerprint"):
            if now and then and now.get(name) != then.get(name):
                source = str(now.get("name") or now.get("url") or "the rows")
                raise DatasetError(source, "has changed since the job was trained: name other rows to ask")
