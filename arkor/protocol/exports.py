"""An export of what a job trained: its options, and how far it is.

Protocol: docs/protocol.md, "Exports".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.errors import ConfigError
from arkor.options import known_options, unknown_option
from arkor.protocol import wire
from arkor.protocol.checks import FLAG, one_of, whole
from arkor.protocol.tasks import JobTask

ADAPTER, MERGED = "adapter", "merged"
FORMATS = (ADAPTER, MERGED)
DTYPES = ("bfloat16", "float16")


@known_options
@attrs.frozen(kw_only=True)
class ExportOptions:
    """What an export is to be.

    Args:
        to: the format: ``adapter``, a folder that PEFT and vLLM load beside the base model; or ``merged``, a whole
            model of transformers.
        step: the checkpoint that is exported, 1 or more; by default the final adapter.
        dtype: the number type of a merged model's weights: ``bfloat16`` (the default) or ``float16``.
        check: whether what was made is loaded and compared with what chats get.

    Raises:
        ConfigError: a value is out of its range; ``field`` names it.

    Example:
        ``ExportOptions(to="merged", dtype="float16")``
    """

    to: str = attrs.field(validator=one_of(*FORMATS))
    step: int | None = attrs.field(default=None, validator=whole(1, 10**9))
    dtype: str | None = attrs.field(default=None, validator=one_of(*DTYPES))
    check: bool = attrs.field(default=True, validator=FLAG)

    def __attrs_post_init__(self) -> None:
        if self.dtype is not None and self.to != MERGED:
            raise ConfigError("dtype", f"changes nothing in an export to {self.to!r}: its weights stay as they are")

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> ExportOptions:
        """Read the options that a client sent; null stands for an absent one.

        Raises:
            UnknownOption: there is no such option.
            ConfigError: a value is out of its range, or ``to`` is missing.
        """
        arguments = wire.known_fields(cls, body)
        for name in arguments.pop("extra"):
            raise unknown_option("An export", wire.python_name(name), [field.name for field in attrs.fields(cls)])
        if "to" not in arguments:
            raise ConfigError("to", f"is missing: give one of {', '.join(FORMATS)}")
        return cls(**arguments)

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object that travels: what differs from the defaults."""
        return wire.to_wire(self)


def _options(value: Any) -> ExportOptions:
    """Read the options that a backend sends back; those of a newer version stand for a plain adapter."""
    if isinstance(value, ExportOptions):
        return value
    try:
        return ExportOptions.from_wire(wire.mapping(value))
    except ConfigError:
        return ExportOptions(to=ADAPTER)


@attrs.frozen(kw_only=True)
class Export(JobTask):
    """An export, as the backend describes it; ``JobTask`` has its attributes.

    Attributes:
        options: what was asked for.
    """

    options: ExportOptions = attrs.field(factory=lambda: ExportOptions(to=ADAPTER), converter=_options)
