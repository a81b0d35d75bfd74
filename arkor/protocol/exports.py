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

ADAPTER, MERGED, GGUF, OLLAMA, VLLM = "adapter", "merged", "gguf", "ollama", "vllm"
FORMATS = (ADAPTER, MERGED, GGUF, OLLAMA, VLLM)
DTYPES = ("bfloat16", "float16")
WHOLE_NUMBERS = ("bf16", "f16")  # quantizations that keep all of a merged model
QUANTIZATIONS = (*WHOLE_NUMBERS, "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0")


@known_options
@attrs.frozen(kw_only=True)
class ExportOptions:
    """What an export is to be.

    Args:
        to: the format: ``adapter``, a folder that PEFT loads beside the base model; ``vllm``, an adapter that vLLM
            loads; ``merged``, a whole model of transformers; ``gguf``, one of llama.cpp; or ``ollama``, the same with
            a Modelfile.
        step: the checkpoint that is exported, 1 or more; by default the final adapter.
        dtype: the number type of a merged model's weights: ``bfloat16`` (the default) or ``float16``.
        quantization: the number type of a GGUF file's weights: ``bf16`` (the default), ``f16``, ``q8_0``, ``q6_k``,
            ``q5_k_m``, ``q4_k_m`` or ``q4_0``. Those below 8 bits need llama.cpp's ``llama-quantize`` on the backend.
        adapter_only: whether a GGUF file has the adapter alone, which llama.cpp loads beside the base model; False by
            default.
        check: whether what was made is loaded and compared with what chats get.

    Raises:
        ConfigError: a value is out of its range; ``field`` names it.

    Example:
        ``ExportOptions(to="merged", dtype="float16")``
    """

    to: str = attrs.field(validator=one_of(*FORMATS))
    step: int | None = attrs.field(default=None, validator=whole(1, 10**9))
    dtype: str | None = attrs.field(default=None, validator=one_of(*DTYPES))
    quantization: str | None = attrs.field(default=None, validator=one_of(*QUANTIZATIONS))
    adapter_only: bool = attrs.field(default=False, validator=FLAG)
    check: bool = attrs.field(default=True, validator=FLAG)

    def __attrs_post_init__(self) -> None:
        if self.dtype is not None and self.to != MERGED:
            raise ConfigError("dtype", f"changes nothing in an export to {self.to!r}: it is for 'merged' alone")
        if self.quantization is not None and self.to not in {GGUF, OLLAMA}:
            raise ConfigError("quantization", f"changes nothing in an export to {self.to!r}: it is for GGUF files")
        if self.adapter_only and self.to != GGUF:
            raise ConfigError("adapter_only", f"changes nothing in an export to {self.to!r}: it is for 'gguf' alone")
        if self.adapter_only and self.quantization is not None:
            raise ConfigError("quantization", "changes nothing in an adapter alone: its weights stay as they are")

    @property
    def is_adapter(self) -> bool:
        """Whether it is the adapter alone, for which another program needs the base model too."""
        return self.to in {ADAPTER, VLLM} or self.adapter_only

    @property
    def is_quantized(self) -> bool:
        """Whether its weights are kept less exactly than those of a merged model."""
        return self.quantization is not None and self.quantization not in WHOLE_NUMBERS

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
