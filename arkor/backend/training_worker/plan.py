"""What the other processes of an attempt are told before they begin."""

from __future__ import annotations

from pathlib import Path

import attrs

from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.spec import WorkerSpec


@attrs.frozen(kw_only=True)
class Plan:
    """An attempt whose rows are ready.

    Attributes:
        spec: the attempt, with batches that memory suffices for.
        device: what each process computes on.
        model_path: where the base model is, or its id.
        resumed: the checkpoint to go on from; None to begin anew.
        tries_longest: whether the longest rows are tried before the first step.
    """

    spec: WorkerSpec
    device: Device
    model_path: str
    resumed: Path | None
    tries_longest: bool


@attrs.frozen
class Part:
    """What one of the other processes has to do.

    Attributes:
        plan: the attempt.
        rank: the number of the process, from 1.
        meeting: the URL where the processes find each other.
        examples: the folder of the rows as the model sees them.
    """

    plan: Plan
    rank: int
    meeting: str
    examples: Path
