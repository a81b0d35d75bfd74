"""What a project's entry exports: one trainer, in a frozen value that tools can read."""

from __future__ import annotations

from typing import Any, TypeGuard

import attrs

from arkor.errors import ConfigError
from arkor.trainer.trainer import Trainer


@attrs.frozen(kw_only=True)
class Arkor:
    """A project's manifest.

    Attributes:
        trainer: what ``arkor start`` runs.
    """

    trainer: Trainer


def create_arkor(*, trainer: Trainer) -> Arkor:
    """Return a project's manifest.

    Args:
        trainer: what ``arkor start`` runs.

    Raises:
        ConfigError: it is not a trainer.
    """
    if not isinstance(trainer, Trainer):
        raise ConfigError("trainer", f"must be a Trainer, as create_trainer(...) returns one, not {trainer!r}")
    return Arkor(trainer=trainer)


def is_arkor(value: Any) -> TypeGuard[Arkor]:
    """Say whether a value is a project's manifest."""
    return isinstance(value, Arkor)
