"""The table of settings as the page gets it: in Python's names, with the defaults in words."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs

from arkor.protocol import wire
from arkor.protocol.config import SETTINGS, LoraConfig, Setting

# Settings that a trainer takes under another name: where rows are, and the group of LoRA.
_ELSEWHERE = {
    "dataset_source": "dataset",
    "eval_dataset_source": "eval_dataset",
    **dict(zip(LoraConfig().to_settings(), (f"lora.{field.name}" for field in attrs.fields(LoraConfig)), strict=True)),
}
_BY_WIRE_NAME = {wire.wire_name(name): _ELSEWHERE.get(name, name) for name in SETTINGS}
_FLAGS = {"true": "True", "false": "False"}


def settings_table() -> list[dict[str, Any]]:
    """Return for each setting its ``wireName``, ``name`` in Python and ``default``; ``isValue`` is false for words."""
    return [
        {"wireName": wire_name, "name": name, "default": _default(setting), "isValue": setting.value is not None}
        for (wire_name, name), setting in zip(_BY_WIRE_NAME.items(), SETTINGS.values(), strict=True)
    ]


def _default(setting: Setting) -> str:
    if setting.value is not None:
        return json.dumps(setting.value) if isinstance(setting.value, str) else repr(setting.value)
    words = re.sub(r"`([\w.]+)`", lambda code: _BY_WIRE_NAME.get(code[1], code[1]), setting.default)
    return re.sub(r"\b(true|false)\b", lambda flag: _FLAGS[flag[1]], words)
