"""What vLLM takes as an adapter.

Source: https://docs.vllm.ai/en/latest/features/lora.html, and the checks of vLLM's ``PEFTHelper``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.errors import ArkorError

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of --max-lora-rank
_UNKNOWN = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "lora_bias")


def faults(config: Mapping[str, Any]) -> list[str]:
    """Return what keeps vLLM from loading an adapter, or lets it load another one; empty if nothing does.

    Args:
        config: the content of ``adapter_config.json``.
    """
    found = [f"{name}={config[name]!r}" for name in _UNKNOWN if config.get(name)]
    if config.get("bias", "none") != "none":
        found.append(f"bias={config['bias']!r}")
    if config["r"] > _RANKS[-1]:
        found.append(f"a rank of {config['r']}, above {_RANKS[-1]}")
    return found


def check_taken(config: Mapping[str, Any]) -> None:
    """Refuse an adapter that vLLM does not load as it is.

    Raises:
        ArkorError: it does not; the text says why.
    """
    if found := faults(config):
        raise ArkorError(
            f"vLLM loads no adapter with {', '.join(found)}: export --to merged, and let vLLM load the whole model."
        )


def command(base: str, name: str, rank: int) -> str:
    """Return the command that serves an adapter from the folder that it is in.

    Args:
        base: the base model's id.
        name: what requests call the adapter.
        rank: of the adapter.
    """
    most = next(one for one in _RANKS if one >= rank)
    return f"vllm serve {base} --enable-lora --max-lora-rank {most} --lora-modules {name}=."
