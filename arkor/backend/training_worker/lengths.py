"""How long an example may be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from arkor.backend.training_worker.device import Device
from arkor.protocol.config import JobConfig

CPU_TOKENS = 2048  # beyond, a step of a small model takes minutes
SHORTEST = 8


@attrs.frozen
class Lengths:
    """The limits that the model and the machine set.

    Attributes:
        context: most tokens that the model can read; None if it does not say.
        device: most tokens that the device can train on in bearable time; None if that is not known.
    """

    context: int | None = None
    device: int | None = None

    @classmethod
    def of(cls, model_config: Any, device: Device) -> Lengths:
        """Return the limits of a model, by its configuration of transformers, on a device."""
        context = getattr(model_config.get_text_config(), "max_position_embeddings", None)
        return cls(context if isinstance(context, int) else None, CPU_TOKENS if device.is_cpu else None)


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
    limits += [(most.device, "the most on a CPU")] if most.device else []
    tokens, reason = min(limits, key=lambda limit: limit[0])
    return Length(tokens, reason, config.excess_length == "truncate")
