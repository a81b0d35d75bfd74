"""The sizes of a model, read from its ``config.json`` without loading a library of models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.models.weights import count_parameters
from arkor.protocol import wire
from arkor.system.files import open_regular

_MAX_CONFIG_BYTES = 2**20
# Our name of a size, and its names in configurations, the most frequent first.
_NAMES = {
    "hidden": ("hidden_size", "n_embd", "d_model"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads"),
    "vocabulary": ("vocab_size",),
}


@attrs.frozen(kw_only=True)
class ModelSizes:
    """What the memory of a training depends on.

    Attributes:
        parameters: how many numbers the model has.
        hidden: width of the hidden states.
        layers: how many layers there are.
        heads: attention heads of a layer.
        key_heads: heads of a layer that have keys and values of their own.
        head_width: width of a head.
        inner: width of a layer's inner vectors, of all experts that a token uses.
        vocabulary: how many tokens there are.
    """

    parameters: int
    hidden: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    vocabulary: int

    @classmethod
    def of_folder(cls, folder: Path) -> ModelSizes | None:
        """Return the sizes of the model in a folder; None if its files do not say all of them."""
        parameters = count_parameters(folder)
        try:
            with open_regular(folder / "config.json") as file:
                config = json.loads(file.read(_MAX_CONFIG_BYTES))
        except (OSError, ValueError, RecursionError):  # loading it will say how
            return None
        return None if parameters is None else cls.of(wire.mapping(config), parameters)

    @classmethod
    def of(cls, config: Mapping[str, Any], parameters: int) -> ModelSizes | None:
        """Return the sizes that a configuration says; None if it does not say all of them.

        Args:
            config: of transformers, as a mapping; that of the text part if it has several.
            parameters: how many numbers the model has.
        """
        text = {**config, **wire.mapping(config.get("text_config"))}
        sizes = {ours: _size(text, *names) for ours, names in _NAMES.items()}
        known = {ours: size for ours, size in sizes.items() if size is not None}
        if known.keys() != sizes.keys():
            return None
        dense = _size(text, "intermediate_size", "n_inner", "d_ff") or 4 * known["hidden"]
        of_experts = (_size(text, "num_experts_per_tok") or 0) * (_size(text, "moe_intermediate_size") or dense)
        return cls(
            **known,
            parameters=parameters,
            key_heads=_size(text, "num_key_value_heads") or known["heads"],
            head_width=_size(text, "head_dim") or -(-known["hidden"] // known["heads"]),
            inner=max(dense, of_experts),
        )

    @property
    def linear(self) -> dict[str, tuple[int, int]]:
        """The width of what goes into, and comes out of, the linear layers of a layer, by their usual names."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, keys),
            "v_proj": (self.hidden, keys),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }


def _size(config: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of some sizes that is there, the largest if each layer has its own."""
    for name in names:
        value = config.get(name)
        sizes = value if isinstance(value, list) else [value]
        found = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool) and size > 0]
        if found:
            return max(found)
    return None
