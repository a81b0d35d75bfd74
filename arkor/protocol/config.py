"""The settings of a training job, each with its range, and the LoRA group that users write apart.

The trainer checks them before anything is sent, the self-hosted backend checks the same ranges again.

Protocol: docs/protocol.md, "Jobs": the config object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from arkor.errors import ConfigError
from arkor.protocol import wire

Validator = Callable[[Any, "attrs.Attribute[Any]", Any], None]


def _refuse(field: attrs.Attribute[Any], expected: str, value: Any) -> ConfigError:
    return ConfigError(field.name, f"must be {expected}, not {value!r}")


def whole(minimum: int) -> Validator:
    """Return a validator: absent, or a whole number of at least ``minimum``."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        if isinstance(value, bool) or not isinstance(value, int) or value < minimum:
            raise _refuse(field, f"a whole number, {minimum} or more", value)

    return check


def real(minimum: float, *, above: bool = False) -> Validator:
    """Return a validator: absent, or a finite number of at least (or ``above``) ``minimum``."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        if value is None:
            return
        good = not isinstance(value, bool) and isinstance(value, (int, float)) and abs(value) <= sys.float_info.max
        if not good or value < minimum or (above and value == minimum):
            raise _refuse(field, f"a number {'above' if above else 'of at least'} {minimum:g}", value)

    return check


def _flag(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, bool):
        raise _refuse(field, "True or False", value)


def _words(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and (not isinstance(value, str) or not value.strip()):
        raise _refuse(field, "a text that is not empty", value)


def _object(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    if value is not None and not isinstance(value, Mapping):
        raise _refuse(field, "a mapping", value)


@attrs.frozen
class LoraConfig:
    """The adapter's shape.

    Args:
        r: rank of the adapter's matrices, at least 1.
        alpha: scale; the adapter's output is multiplied by ``alpha / r``. Above 0.
        max_length: longest example in tokens, at least 8; longer ones are cut.
        load_in_4bit: keep the base model's weights in 4 bits (needs a CUDA device).

    Raises:
        ConfigError: a value is out of its range.
    """

    r: int = attrs.field(default=16, validator=whole(1))
    alpha: float = attrs.field(default=16, validator=real(0, above=True))
    max_length: int | None = attrs.field(default=None, validator=whole(8), kw_only=True)
    load_in_4bit: bool | None = attrs.field(default=None, validator=_flag, kw_only=True)

    @classmethod
    def parse(cls, value: LoraConfig | Mapping[str, Any]) -> LoraConfig:
        """Return a LoraConfig as it is, or make one of a mapping with its names (or their wire names)."""
        if isinstance(value, LoraConfig):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError("lora", f"must be a LoraConfig or a mapping, not {value!r}")
        arguments = {wire.python_name(key): item for key, item in value.items()}
        unknown = sorted(set(arguments) - {field.name for field in attrs.fields(cls)})
        if unknown:
            raise ConfigError("lora", f"has no setting {', '.join(unknown)}; it has r, alpha, max_length, load_in_4bit")
        return cls(**arguments)

    def to_settings(self) -> dict[str, Any]:
        """Return the arguments of JobConfig that it stands for."""
        return {
            "lora_r": self.r,
            "lora_alpha": self.alpha,
            "max_length": self.max_length,
            "load_in_4bit": self.load_in_4bit,
        }


@attrs.frozen(kw_only=True)
class JobConfig:
    """What a job is asked to do. A field that is None was not given, and does not travel.

    Attributes:
        model: a name the backend knows, a Hugging Face id, or a folder on the backend's machine.
        dataset_source: where the rows are, see ``arkor.data.datasets``.
        dataset_format: ``{"type": "chatml" | "prompt_completion" | "text" | "alpaca"}``; detected when absent.
        dataset_split: ``{"train": …, "eval": …}`` or ``{"evalFraction": …, "seed": …}``.
        max_steps: optimizer steps, at least 1; wins over ``num_train_epochs``.
        num_train_epochs: passes over the rows, above 0.
        learning_rate: peak step size, dimensionless, above 0.
        batch_size: rows a step, at least 1.
        optim: the optimizer's name, as transformers spells it.
        lr_scheduler_type: the schedule's name, as transformers spells it.
        weight_decay: dimensionless, at least 0.
        warmup_steps: steps until the peak, at least 0.
        logging_steps: steps between two log events, at least 1.
        save_steps: steps between two checkpoints, at least 1; only the final adapter when absent.
        eval_steps: steps between two evaluations, at least 1; one at the end when absent and rows are held out.
        train_on_responses_only: whether the loss counts only what the assistant says.
        lora_r, lora_alpha, max_length, load_in_4bit: see ``LoraConfig``.
        dry_run: whether to run the whole path on a few rows for a few steps.
        extra: fields this version does not know.

    Raises:
        ConfigError: a value is out of its range; ``field`` names it.
    """

    model: str = attrs.field(validator=_words)
    dataset_source: Mapping[str, Any] = attrs.field(validator=_object, hash=False)
    dataset_format: Mapping[str, Any] | None = attrs.field(default=None, validator=_object, hash=False)
    dataset_split: Mapping[str, Any] | None = attrs.field(default=None, validator=_object, hash=False)
    max_steps: int | None = attrs.field(default=None, validator=whole(1))
    num_train_epochs: float | None = attrs.field(default=None, validator=real(0, above=True))
    learning_rate: float | None = attrs.field(default=None, validator=real(0, above=True))
    batch_size: int | None = attrs.field(default=None, validator=whole(1))
    optim: str | None = attrs.field(default=None, validator=_words)
    lr_scheduler_type: str | None = attrs.field(default=None, validator=_words)
    weight_decay: float | None = attrs.field(default=None, validator=real(0))
    warmup_steps: int | None = attrs.field(default=None, validator=whole(0))
    logging_steps: int | None = attrs.field(default=None, validator=whole(1))
    save_steps: int | None = attrs.field(default=None, validator=whole(1))
    eval_steps: int | None = attrs.field(default=None, validator=whole(1))
    train_on_responses_only: bool | None = attrs.field(default=None, validator=_flag)
    lora_r: int | None = attrs.field(default=None, validator=whole(1))
    lora_alpha: float | None = attrs.field(default=None, validator=real(0, above=True))
    max_length: int | None = attrs.field(default=None, validator=whole(8))
    load_in_4bit: bool | None = attrs.field(default=None, validator=_flag)
    dry_run: bool | None = attrs.field(default=None, validator=_flag)
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> JobConfig:
        """Read a config as a client sent it.

        Raises:
            ConfigError: a required field is absent, or a value is out of its range.
        """
        for required in ("model", "dataset_source"):
            if body.get(wire.wire_name(required)) is None:
                raise ConfigError(required, "is required")
        return cls(**wire.known_fields(cls, body))

    def to_wire(self) -> dict[str, Any]:
        """Return the config as the JSON object that travels: only what was given."""
        return wire.to_wire(self)
