"""What a process is told first of the piece of work that it does; ``tasks.run`` has what is said then."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from arkor.protocol.config import JobConfig
from arkor.protocol.record import TrainingRecord
from arkor.protocol.sources import imported_from

if TYPE_CHECKING:
    from typing import Self  # Python 3.11; the type checker alone reads it


@attrs.frozen(kw_only=True)
class WorkTask:
    """A piece of work on what a job has made.

    Attributes:
        id: the piece.
        job_id: the job.
        config: the job's settings.
        prompt_form: how the job's rows were trained: ``chat`` or ``raw``; None if that is not known.
        options: what is asked for.
        model_path: what transformers loads the base model from.
        dataset_path: the job's uploaded rows, or None if they come from elsewhere.
        eval_dataset_path: the same of its held-out rows.
        folder: the piece's folder.
        artifacts_folder: where its archive belongs.
        artifact: the archive's name, without ``.tar``.
        allow_private_urls: whether rows may come from hosts that are not on the public internet.
        record: what made the adapter; None if the job did not say.
    """

    id: str
    job_id: str
    config: JobConfig = attrs.field(repr=False)
    prompt_form: str | None
    options: Any
    model_path: str
    dataset_path: str | None
    eval_dataset_path: str | None
    folder: Path
    artifacts_folder: Path
    artifact: str
    allow_private_urls: bool
    record: TrainingRecord | None

    _readers: ClassVar[Mapping[str, Callable[[Any], Any]]] = {
        "config": JobConfig.from_wire,
        "folder": Path,
        "artifacts_folder": Path,
        "record": TrainingRecord.from_wire,
    }

    @property
    def is_imported(self) -> bool:
        """Whether the job's adapter was trained elsewhere, so that the job has no rows."""
        return imported_from(self.config.to_wire()) is not None

    def to_line(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        return {field.name: _plain(getattr(self, field.name)) for field in attrs.fields(type(self))}

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Self:
        """Take what ``to_line`` gave."""
        return cls(**{**line, **{name: read(line[name]) for name, read in cls._readers.items()}})


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return value.to_wire() if hasattr(value, "to_wire") else value
