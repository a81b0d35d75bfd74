"""What is known of a job's rows before they are read."""

from __future__ import annotations

from pathlib import Path

import attrs

from arkor.protocol.config import JobConfig


def optional_path(value: str | Path | None) -> Path | None:
    """Return a path, or None as it is."""
    return None if value is None else Path(value)


@attrs.frozen(kw_only=True)
class RowsSpec:
    """The rows of a job, and where they are.

    Attributes:
        config: the job's settings.
        dataset_path: the uploaded JSONL file, or None where the rows come from elsewhere.
        eval_dataset_path: the same of the held-out rows, if they have a source of their own.
        job_dir: a folder for what is fetched.
        allow_private_urls: whether rows may come from hosts that are not on the public internet.
    """

    config: JobConfig = attrs.field(repr=False)  # it may hold a data set's token
    dataset_path: Path | None = attrs.field(converter=optional_path)
    eval_dataset_path: Path | None = attrs.field(default=None, converter=optional_path)
    job_dir: Path = attrs.field(converter=Path)
    allow_private_urls: bool = False
