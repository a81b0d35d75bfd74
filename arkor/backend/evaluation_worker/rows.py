"""The rows of an evaluation: those of the job, or others that it names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.backend.evaluations.task import Task
from arkor.backend.training_worker.rows.asked import Chosen, choose
from arkor.backend.training_worker.rows.load import Rows, RowSet, fetch_rows, load_rows
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.errors import DatasetError
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import HELD_OUT
from arkor.protocol.record import TrainingRecord


def job_rows(task: Task) -> Rows:
    """Return the rows of the job, as it trained on them and held them out.

    Raises:
        DatasetError: they cannot be had any more, or have changed since.
    """
    spec = _spec(task, task.config, task.dataset_path, task.eval_dataset_path)
    sources = fetch_rows(spec)
    _check_same(sources.described(), task.record)
    return load_rows(spec, sources=sources)


def choose_for(task: Task, rows: Rows) -> Chosen:
    """Choose the rows that an evaluation asks. See ``choose``."""
    named = None if task.options.rows == HELD_OUT else _named_rows(task)
    return choose(rows, named, limit=task.options.limit, is_raw=task.prompt_form == "raw")


def _spec(task: Task, config: JobConfig, path: str | None, eval_path: str | None) -> RowsSpec:
    return RowsSpec(
        config=config,
        dataset_path=path,
        eval_dataset_path=eval_path,
        job_dir=task.folder,
        allow_private_urls=task.allow_private_urls,
    )


def _named_rows(task: Task) -> RowSet:
    source = task.options.rows
    assert isinstance(source, Mapping)  # not HELD_OUT
    config = JobConfig(model=task.config.model, dataset_source=source)
    return load_rows(_spec(task, config, task.rows_path, None)).train


def _check_same(found: Mapping[str, Mapping[str, Any]], record: TrainingRecord | None) -> None:
    """Refuse rows that are no longer those of the training, as far as its record tells."""
    if record is None:
        return
    for now, then in ((found.get("rows"), record.rows), (found.get("held_out_rows"), record.held_out_rows)):
        for name in ("sha256", "fingerprint"):
            if now and then and now.get(name) != then.get(name):
                source = str(now.get("name") or now.get("url") or "the rows")
                raise DatasetError(source, "has changed since the job was trained: name other rows to ask")
