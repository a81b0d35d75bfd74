"""What ``adapter_config.json`` says of an adapter, as far as this backend can serve it.

An option of PEFT that changes how the adapter is computed, and that chats and trainings here do not know, is refused:
the answers would be others than in PEFT.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
from peft import LoraConfig

from arkor.backend.imports.task import CONFIG
from arkor.errors import ModelError
from arkor.protocol.checks import FLAG, Check
from arkor.protocol.config import SETTINGS
from arkor.protocol.json_rules import JsonError, read_json
from arkor.text import short_repr

_LONGEST_PATTERN = 1000
# What says nothing of the weights: who made the adapter, of which model, and how its training began.
_WORDS = frozenset(
    (
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_type", "peft_version", "revision"),
        *("task_type", "fan_in_fan_out"),
    )
)


def _are_patterns(check: Check) -> Check:
    return Check(
        lambda value: (
            isinstance(value, dict)
            and all(0 < len(name) <= _LONGEST_PATTERN and check.accepts(item) for name, item in value.items())
        ),
        f"a mapping of patterns to values that are each {check.words}",
    )


_RANK, _SCALE = SETTINGS["lora_r"].check, SETTINGS["lora_alpha"].check
_MODULES = SETTINGS["lora_target_modules"].check
_TARGETS = Check(
    lambda value: _MODULES.accepts(value) or (isinstance(value, str) and 0 < len(value) <= _LONGEST_PATTERN),
    f"{_MODULES.words}, or a pattern",
)
# The fields that shape an adapter: their ranges, and the settings of a job that they are.
_SHAPE: Mapping[str, tuple[Check, str]] = {
    "r": (_RANK, "lora_r"),
    "lora_alpha": (_SCALE, "lora_alpha"),
    "lora_dropout": (SETTINGS["lora_dropout"].check, "lora_dropout"),
    "target_modules": (_TARGETS, "lora_target_modules"),
    "use_rslora": (FLAG, "use_rslora"),
    "use_dora": (FLAG, "use_dora"),
    "layers_to_transform": (SETTINGS["layers_to_transform"].check, "layers_to_transform"),
    "modules_to_save": (SETTINGS["modules_to_save"].check, "modules_to_save"),
    "rank_pattern": (_are_patterns(_RANK), ""),
    "alpha_pattern": (_are_patterns(_SCALE), ""),
}


@attrs.frozen(kw_only=True)
class Shape:
    """An adapter's shape.

    Attributes:
        peft: as PEFT takes it.
        settings: the same as settings of a job by their Python names, as far as a job has them.
    """

    peft: LoraConfig
    settings: Mapping[str, Any] = attrs.field(hash=False)


def read_shape(content: bytes) -> Shape:
    """Return the shape that ``adapter_config.json`` says.

    Args:
        content: of the file.

    Raises:
        ModelError: it is no adapter that this backend serves; the text names the field.
    """
    config = _parsed(content)
    if config.get("peft_type") != "LORA":
        seen = short_repr(config.get("peft_type"))
        raise ModelError(f"{CONFIG}: peft_type is {seen}, and LoRA adapters alone (LORA) can be imported")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        seen = short_repr(config["task_type"])
        raise ModelError(f"{CONFIG}: task_type is {seen}, and adapters of models that write text alone (CAUSAL_LM) fit")
    _check_first_weights(config.get("init_lora_weights"))
    for name in ("r", "lora_alpha", "target_modules"):
        if config.get(name) is None:
            raise ModelError(f"{CONFIG}: {name} is missing")
    _check_others(config)
    given = {name: config[name] for name in _SHAPE if config.get(name) is not None}
    for name, value in given.items():
        check = _SHAPE[name][0]
        if not check.accepts(value):
            raise ModelError(f"{CONFIG}: {name} must be {check.words}, not {short_repr(value)}")
    settings = {setting: given[name] for name, (_, setting) in _SHAPE.items() if setting and name in given}
    return Shape(peft=LoraConfig(task_type="CAUSAL_LM", **given), settings=settings)


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        config = read_json(content)
    except JsonError as exc:
        raise ModelError(f"{CONFIG}: {exc.place or 'the file'} {exc.reason}") from exc
    if not isinstance(config, dict):
        raise ModelError(f"{CONFIG}: must be a JSON object")
    return config


def _check_first_weights(value: Any) -> None:
    """Refuse an adapter whose training began by changing the base model: it fits that changed model alone."""
    if value is not None and not SETTINGS["init_lora_weights"].check.accepts(value):
        raise ModelError(
            f"{CONFIG}: init_lora_weights is {short_repr(value)}, which changes the base model; let PEFT convert the "
            "adapter, with path_initial_model_for_weight_conversion of save_pretrained"
        )


def _check_others(config: Mapping[str, Any]) -> None:
    """Refuse fields that change how the adapter is computed, unless they have the value that changes nothing."""
    plain = LoraConfig().to_dict()
    for name, value in config.items():
        if name in _SHAPE or name in _WORDS or name == "init_lora_weights" or not value:
            continue
        if json.dumps(value) != json.dumps(plain.get(name), default=str):
            raise ModelError(f"{CONFIG}: {name} is {short_repr(value)}, which this backend cannot compute")
