"""The settings that the page shows have the names that one writes."""

from __future__ import annotations

import inspect

import attrs

from arkor import LoraConfig, Trainer
from arkor.protocol.config import SETTINGS
from arkor.studio.settings import settings_table


def test_each_setting_has_the_name_of_an_argument() -> None:
    """Of Trainer, or of the group of LoRA, which are those of the right setting."""
    rows = settings_table()
    assert len(rows) == len(SETTINGS)
    arguments = set(inspect.signature(Trainer.__init__).parameters)
    arguments |= {f"lora.{field.name}" for field in attrs.fields(LoraConfig)}
    assert {row["name"] for row in rows} <= arguments
    names = {row["wireName"]: row["name"] for row in rows}
    assert (names["loraR"], names["loadIn4bit"], names["maxLength"]) == (
        "lora.r",
        "lora.load_in_4bit",
        "lora.max_length",
    )
    assert (names["useDora"], names["loraDropout"]) == ("lora.use_dora", "lora.dropout")


def test_defaults_are_python() -> None:
    """Values as Python has them, words with the names of this table."""
    defaults = {row["name"]: (row["default"], row["isValue"]) for row in settings_table()}
    assert defaults["dry_run"] == ("False", True)
    assert defaults["optim"] == ('"adamw_torch"', True)
    assert defaults["eval_batch_size"] == ("twice batch_size: no gradients are kept", False)
    assert defaults["gradient_checkpointing"] == ("True on a GPU, False on a CPU", False)
    assert not any("`" in words for words, _ in defaults.values())
