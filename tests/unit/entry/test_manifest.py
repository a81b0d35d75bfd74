"""What an entry exports."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from arkor.entry.manifest import Arkor, create_arkor, is_arkor
from arkor.errors import ConfigError
from arkor.trainer.trainer import Trainer, create_trainer

TRAINER = create_trainer(name="run", model="m", dataset={"type": "huggingface", "name": "a/b"})


def test_a_manifest_holds_one_trainer_and_is_frozen() -> None:
    """Tools can read it, nobody changes it."""
    manifest = create_arkor(trainer=TRAINER)
    assert manifest.trainer is TRAINER
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        manifest.trainer = TRAINER  # type: ignore[misc]


@pytest.mark.parametrize("value", [None, {}, "trainer", Trainer, create_arkor(trainer=TRAINER)])
def test_what_is_no_trainer_is_refused(value: Any) -> None:
    """With what it must be."""
    with pytest.raises(ConfigError, match="must be a Trainer") as raised:
        create_arkor(trainer=value)
    assert raised.value.field == "trainer"


@pytest.mark.parametrize(
    ("value", "is_one"), [(create_arkor(trainer=TRAINER), True), (TRAINER, False), ({}, False), (Arkor, False)]
)
def test_a_manifest_is_told_from_everything_else(value: Any, is_one: bool) -> None:
    """By what it is, not by what it looks like."""
    assert is_arkor(value) is is_one


def test_a_trainer_is_made_by_either_name() -> None:
    """``create_trainer`` takes what ``Trainer`` takes."""
    assert isinstance(TRAINER, Trainer)
    with pytest.raises(TypeError):
        create_trainer(name="run")
    with pytest.raises(TypeError):
        Trainer("run", "m", {})  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_trainer_needs_a_name(name: Any) -> None:
    """One that can be read."""
    with pytest.raises(ConfigError, match=r"^name: "):
        create_trainer(name=name, model="m", dataset={"type": "huggingface", "name": "a/b"})
    with pytest.raises(ConfigError, match=r"^job_id: "):
        Trainer.attach(name)
