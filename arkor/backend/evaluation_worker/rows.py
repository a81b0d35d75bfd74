"""The rows that an evaluation asks: of those that the job held out, or of others that it names."""

from __future__ import annotations

from collections.abc import Mapping

from arkor.backend.evaluations.task import Task
from arkor.backend.task_worker.rows import rows_spec
from arkor.backend.training_worker.rows.asked import Chosen, choose
from arkor.backend.training_worker.rows.load import Rows, RowSet, load_rows
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import HELD_OUT


def choose_for(task: Task, rows: Rows) -> Chosen:
    """Choose the rows that an evaluation asks. See ``choose``."""
    named = None if task.options.rows == HELD_OUT else _named_rows(task)
    return choose(rows, named, limit=task.options.limit, is_raw=task.prompt_form == "raw")


def _named_rows(task: Task) -> RowSet:
    source = task.options.rows
    assert isinstance(source, Mapping)  # not HELD_OUT
    config = JobConfig(model=task.config.model, dataset_source=source)
    return load_rows(rows_spec(task, config, task.rows_path)).train
