"""Work on what a job has made: evaluations and exports. It waits for the job, and one piece is done at a time.

Protocol: docs/protocol.md, "Evaluations", "Exports".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from arkor.protocol import wire
from arkor.protocol.jobs import TERMINAL_STATUSES, JobStatus

if TYPE_CHECKING:
    from typing import Self  # Python 3.11; the type checker alone reads it


def _count(value: Any) -> int:
    return wire.whole_number(value) or 0


@attrs.frozen(kw_only=True)
class JobTask:
    """A piece of such work, as the backend describes it.

    Attributes:
        id: the backend's id.
        job_id: the job.
        status: ``queued`` (also until the job has completed), ``running``, ``completed``, ``failed`` or ``cancelled``.
        options: what was asked for.
        done: how much of it is done, 0 or more: answers of an evaluation, steps of an export.
        total: all of it; 0 until that is known.
        error: why it failed or was cancelled, or None.
        verdict: what was found, in words; empty before that, and if nothing was to be found.
        check: whether what answers is what was trained, see docs/protocol.md; empty if that was not checked.
        artifact: the name of the artifact that was made; None if there is none.
        created_at: ISO 8601, UTC.
        started_at: ISO 8601, UTC, or None.
        completed_at: ISO 8601, UTC, or None: when it ended, however it ended.
        extra: fields this version does not know.
    """

    id: str = attrs.field(converter=wire.text)
    job_id: str = attrs.field(default="", converter=wire.text)
    status: str = attrs.field(default=JobStatus.QUEUED.value, converter=wire.text)
    options: Any = None
    done: int = attrs.field(default=0, converter=_count)
    total: int = attrs.field(default=0, converter=_count)
    error: str | None = attrs.field(default=None, converter=wire.optional_text)
    verdict: str = attrs.field(default="", converter=wire.text)
    check: Mapping[str, Any] = attrs.field(factory=dict, converter=wire.mapping, hash=False)
    artifact: str | None = attrs.field(default=None, converter=wire.optional_text)
    created_at: str = attrs.field(default="", converter=wire.text)
    started_at: str | None = attrs.field(default=None, converter=wire.optional_text)
    completed_at: str | None = attrs.field(default=None, converter=wire.optional_text)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @property
    def is_terminal(self) -> bool:
        """Whether it has ended: completed, failed or cancelled."""
        return self.status in TERMINAL_STATUSES

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> Self:
        """Read it as the backend sent it."""
        return cls(**wire.known_fields(cls, {"id": "", **body}))

    def to_wire(self) -> dict[str, Any]:
        """Return it as the JSON object that travels."""
        return {**wire.to_wire(self), "options": self.options.to_wire()}
