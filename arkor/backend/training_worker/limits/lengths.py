"""How long an example may be."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.training_worker.limits.device import Device, free_gpu_bytes
from arkor.backend.training_worker.limits.gpu_memory import StepMemory
from arkor.protocol.config import JobConfig
from arkor.system.files import write_atomically

CPU_TOKENS = 2048  # beyond, a step of a small model takes minutes
SHORTEST = 8


@attrs.frozen
class Lengths:
    """The limits that the model and the machine set.

    Attributes:
        context: most tokens that the model can read; None if it does not say.
        device: most tokens that the device can train on, on a CPU in bearable time; None if that is not known.
        device_reason: where that number comes from, in words.
    """

    context: int | None = None
    device: int | None = None
    device_reason: str = "the most on a CPU"

    @classmethod
    def remembered(cls, file: Path, find: Callable[[], Lengths]) -> Lengths:
        """Return the limits that a job's first attempt found, so that a resumed one learns from the same rows.

        Args:
            file: keeps them; made by the first attempt.
            find: finds them.
        """
        if file.exists():
            return cls(**json.loads(file.read_bytes()))
        found = find()
        write_atomically(file, json.dumps(attrs.asdict(found)).encode())
        return found

    @classmethod
    def of(cls, model_config: Any, config: JobConfig, device: Device) -> Lengths:
        """Return the limits of a model on a device; on a GPU its memory is the limit, see ``StepMemory``.

        Args:
            model_config: of transformers.
            config: the job's settings.
            device: where it trains.
        """
        found = getattr(model_config.get_text_config(), "max_position_embeddings", None)
        context = found if isinstance(found, int) else None
        if device.is_cpu:
            return cls(context, CPU_TOKENS)
        memory = StepMemory.of(model_config, attrs.evolve(config, dtype=config.dtype or device.dtype))
        reason = f"the most in this GPU's memory with batch_size={memory.batch_size}, by an estimate"
        return cls(context, max(SHORTEST, memory.most_tokens(free_gpu_bytes(device))), reason)


@attrs.frozen
class Length:
    """The longest example that a job trains on.

    Attributes:
        tokens: its tokens, at least 8.
        reason: where the number comes from, in words.
        truncates: whether a longer example is cut; otherwise its row is dropped.
    """

    tokens: int
    reason: str
    truncates: bool


def choose_length(config: JobConfig, lengths: Iterable[int], most: Lengths) -> Length:
    """Choose the longest example of a job.

    Args:
        config: its settings; a ``max_length`` there is taken as it is.
        lengths: tokens of each row's longest example.
        most: what the model and the machine allow.
    """
    if config.max_length is not None:
        return Length(config.max_length, "set by the job", config.excess_length in {None, "truncate"})
    limits = [(max(SHORTEST, *lengths, 0), "the longest row")]
    limits += [(most.context, "the model's context")] if most.context else []
    limits += [(most.device, most.device_reason)] if most.device else []
    tokens, reason = min(limits, key=lambda limit: limit[0])
    return Length(tokens, reason, config.excess_length == "truncate")
