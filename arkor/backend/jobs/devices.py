"""What jobs train on here: the GPUs that this backend may use, or the processor.

Protocol: docs/protocol.md, "Devices".
"""

from __future__ import annotations

import os
from collections.abc import Collection

import attrs


@attrs.frozen(kw_only=True)
class Devices:
    """The devices of this backend, and how many jobs they take.

    A GPU has one job at a time. Jobs on the processor share its cores, and the operator says how many there may be.

    Attributes:
        gpus: CUDA devices, as ``CUDA_VISIBLE_DEVICES`` names them; none if jobs train on the processor.
        max_parallel: the most jobs at the same time; None for one on each GPU, or one on the processor.
        cores: of the processor.
        cores_of_device: those that each device has for itself, on a cluster; None if jobs share this machine's.
    """

    gpus: tuple[str, ...] = ()
    max_parallel: int | None = None
    cores: int = attrs.field(factory=lambda: os.cpu_count() or 1)
    cores_of_device: int | None = None

    @property
    def most_jobs(self) -> int:
        """The most jobs at the same time."""
        return self.max_parallel or max(1, len(self.gpus))

    @property
    def places(self) -> int:
        """How many jobs with one device train at the same time."""
        return min(self.most_jobs, len(self.gpus)) if self.gpus else self.most_jobs

    @property
    def most(self) -> int | None:
        """The most devices that one job can have; None on a cluster, which may grow."""
        return None if self.cores_of_device is not None else len(self.gpus) or self.cores

    def free(self, held: Collection[str]) -> list[str]:
        """Return the GPUs that no job has. The first comes last, because chats are answered there.

        Args:
            held: those that jobs have.
        """
        taken = frozenset(held)
        return [gpu for gpu in reversed(self.gpus) if gpu not in taken]

    def threads(self, devices: int) -> int:
        """Return on how many threads each process of a job computes, at least 1.

        Args:
            devices: the job's; each has a process of its own. On the processor they share the place of one job.
        """
        if self.cores_of_device is not None:
            return max(1, self.cores_of_device)
        return max(1, self.cores // self.places // (1 if self.gpus else devices))
