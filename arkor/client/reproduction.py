"""How a job that was trained once more compares with the first one."""

from __future__ import annotations

import attrs

from arkor.client.adapter_files import CONFIG, WEIGHTS
from arkor.protocol.record import RecordDifference


@attrs.frozen(kw_only=True)
class Reproduction:
    """How a job that was trained once more compares with the first one.

    Attributes:
        job_id: the first job.
        again_id: the job that trained once more.
        sha256: of the second job's ``adapter_model.safetensors``, lowercase hex.
        difference: in what the adapters differ first, in words; empty if they have the same bytes.
        record_difference: in what the records of the jobs differ first; None if they do not.
        full_determinism: whether the first job had ``full_determinism``.

    Example:
        ``assert result.reproduce().is_same``
    """

    job_id: str
    again_id: str
    sha256: str
    difference: str
    record_difference: RecordDifference | None
    full_determinism: bool

    @property
    def is_same(self) -> bool:
        """Whether ``adapter_model.safetensors`` and ``adapter_config.json`` have the same bytes."""
        return not self.difference

    def __str__(self) -> str:
        known = [f"Jobs {self.job_id} and {self.again_id} were made otherwise: {self.record_difference}."]
        found = [f"The same bytes: {WEIGHTS} has SHA-256 {self.sha256}, and {CONFIG} is the same too."]
        if not self.is_same:
            found = [f"Other bytes: {self.difference}."]
        if not self.full_determinism:
            found.append("The job was trained without full_determinism: set it, and the bytes are the same each time.")
        return "\n".join([*(known if self.record_difference else []), *found])
