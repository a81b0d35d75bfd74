"""A training job as the backend describes it, and its artifacts.

Protocol: docs/protocol.md, "Jobs" and "Artifacts".
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import attrs

from arkor.drawing.html import table
from arkor.errors import ArkorError
from arkor.protocol import wire
from arkor.text import first_line, one_line

ADAPTER_KIND = "adapter"  # of the artifacts that a training leaves
FINAL_NAME = "adapter"  # of the artifact with the final adapter


class JobStatus(str, enum.Enum):
    """The statuses a job goes through; each compares equal to its wire name."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    __str__ = str.__str__


TERMINAL_STATUSES = frozenset({JobStatus.COMPLETED.value, JobStatus.FAILED.value, JobStatus.CANCELLED.value})


@attrs.frozen
class ResumedFrom:
    """Where a resumed job began: the job whose checkpoint it went on from, and the optimizer step of it."""

    job_id: str
    step: int


def _resumed_from(value: Any) -> ResumedFrom | None:
    """Read where a resumed job began as the backend sent it; None if a part is absent, or of another type."""
    if isinstance(value, ResumedFrom):
        return value
    body = wire.mapping(value)
    job_id, step = wire.optional_text(body.get("jobId")), wire.whole_number(body.get("step"))
    return None if not job_id or step is None else ResumedFrom(job_id, step)


@attrs.frozen
class Scope:
    """The organisation and project that a request is about, by their slugs."""

    org_slug: str
    project_slug: str

    def to_query(self) -> dict[str, str]:
        """Return the query parameters that carry it."""
        return {"orgSlug": self.org_slug, "projectSlug": self.project_slug}


@attrs.frozen(kw_only=True, repr=False)
class TrainingJob:
    """A training job.

    Attributes:
        id: the backend's id; also ``job_id``.
        org_id: the organisation it belongs to.
        project_id: the project it belongs to.
        name: the trainer's name.
        status: a ``JobStatus``; one that this version does not know is kept as it came.
        config: the job's settings, in wire names.
        error: why it failed, or None.
        pause_reason: why it is paused, or None.
        created_at: ISO 8601, UTC.
        started_at: ISO 8601, UTC, or None.
        completed_at: ISO 8601, UTC, or None: when it ended, however it ended.
        prompt_form: how its rows were trained, and so how its adapter is asked best: ``chat``, with the model's chat
            template, or ``raw``, as plain text. None before training begins, and if the backend does not say.
        resumed_from: the job and the step that it went on from, if it is a resumed one; otherwise None.
        extra: fields this version does not know.
    """

    id: str = attrs.field(converter=wire.text)
    org_id: str = attrs.field(default="", converter=wire.text)
    project_id: str = attrs.field(default="", converter=wire.text)
    name: str = attrs.field(default="", converter=wire.text)
    status: str = attrs.field(default=JobStatus.QUEUED.value, converter=wire.text)
    config: Mapping[str, Any] = attrs.field(factory=dict, converter=wire.mapping, hash=False)
    error: str | None = attrs.field(default=None, converter=wire.optional_text)
    pause_reason: str | None = attrs.field(default=None, converter=wire.optional_text)
    created_at: str = attrs.field(default="", converter=wire.text)
    started_at: str | None = attrs.field(default=None, converter=wire.optional_text)
    completed_at: str | None = attrs.field(default=None, converter=wire.optional_text)
    prompt_form: str | None = attrs.field(default=None, converter=wire.optional_text)
    resumed_from: ResumedFrom | None = attrs.field(default=None, converter=_resumed_from)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def job_id(self) -> str:
        """The job's id, under the name that the wire's events use."""
        return self.id

    @property
    def is_dry_run(self) -> bool:
        """Whether the job runs the whole path on a few rows only: what it leaves is no model to use."""
        return bool(self.config.get("dryRun"))

    @property
    def is_raw(self) -> bool:
        """Whether its rows were trained as plain text, without a chat template."""
        return self.prompt_form == "raw"

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended: completed, failed or cancelled."""
        return self.status in TERMINAL_STATUSES

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> TrainingJob:
        """Read a job as the backend sent it.

        Raises:
            ArkorError: the object has no id.
        """
        if not body.get("id"):
            raise ArkorError(f"The backend described a job without an id: {dict(body)!r:.200}")
        return cls(**wire.known_fields(cls, body))

    def to_wire(self) -> dict[str, Any]:
        """Return the job as the JSON object that travels."""
        return wire.to_wire(self)

    @property
    def seconds(self) -> float | None:
        """How long the job ran, from its start to its end, in seconds; None before its end."""
        began, ended = wire.moment(self.started_at), wire.moment(self.completed_at)
        return None if began is None or ended is None else max(0.0, (ended - began).total_seconds())

    def facts(self) -> dict[str, str]:
        """Return what people ask first of a job, by name: its id, status, model, steps and time."""
        steps = self.config.get("maxSteps")
        return {
            "job": self.id,
            "name": self.name,
            "status": self.status,
            "error": first_line(self.error) if self.error else "",
            "pause reason": self.pause_reason or "",
            "model": wire.text(self.config.get("model")),
            "steps": "" if steps is None else str(steps),
            "started": self.started_at or "",
            "time": "" if self.seconds is None else f"{self.seconds:,.0f} s",
        }

    def __repr__(self) -> str:
        return one_line(f"<TrainingJob {self.id} {self.name!r}, {self.status}>")

    def _repr_html_(self) -> str:
        return table(self.facts().items())


@attrs.frozen(kw_only=True)
class Artifact:
    """A file that a job made.

    Attributes:
        name: unique within the job.
        kind: ``adapter``, of checkpoints too; ``report`` or ``export``.
        step: the optimizer step it was saved at, or None for the final one.
        size_bytes: size of the download.
        sha256: of the download, lowercase hex.
        extra: fields this version does not know.
    """

    name: str = attrs.field(default="", converter=wire.text)
    kind: str = attrs.field(default=ADAPTER_KIND, converter=wire.text)
    step: int | None = attrs.field(default=None, converter=wire.whole_number)
    size_bytes: int | None = attrs.field(default=None, converter=wire.whole_number)
    sha256: str | None = attrs.field(default=None, converter=wire.optional_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Artifact:
        """Read an artifact as the backend sent it."""
        return cls(**wire.known_fields(cls, body))

    @classmethod
    def list_from_wire(cls, items: Any) -> tuple[Artifact, ...]:
        """Read a list of artifacts; what is not an object is passed over."""
        if not isinstance(items, list):
            return ()
        return tuple(cls.from_wire(item) for item in items if isinstance(item, Mapping))

    def to_wire(self) -> dict[str, Any]:
        """Return the artifact as the JSON object that travels."""
        return wire.to_wire(self)


def checkpoint_name(step: int) -> str:
    """Return the name of the artifact that a checkpoint becomes: ``checkpoint-20``."""
    return f"checkpoint-{step}"


@attrs.frozen
class AdapterRef:
    """Names an adapter to the inference calls.

    Attributes:
        kind: ``final`` or ``checkpoint``.
        job_id: the job that made it.
        step: the checkpoint's step; None for the final adapter.
    """

    kind: str
    job_id: str
    step: int | None = None

    @classmethod
    def from_wire(cls, value: Any) -> AdapterRef | None:
        """Read an ``adapter`` object; None if it is none."""
        fields = {wire.python_name(name): item for name, item in wire.mapping(value).items()}
        kind, job_id, step = fields.get("kind"), fields.get("job_id"), wire.whole_number(fields.get("step"))
        if not isinstance(job_id, str) or not job_id:
            return None
        if kind == "final":
            return cls(kind, job_id)
        return cls(kind, job_id, step) if kind == "checkpoint" and step is not None and step >= 0 else None

    def to_wire(self) -> dict[str, Any]:
        """Return the ``adapter`` object that travels."""
        return wire.to_wire(self)
