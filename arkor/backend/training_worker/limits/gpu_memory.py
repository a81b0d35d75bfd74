"""How much memory of a GPU a training step takes: an estimate from the model's configuration.

    bytes = fixed + batch_size * (tokens * a_token + tokens² * a_pair)

The layers' part of ``a_token`` is compared with what torch keeps on a CPU (``test_gpu_memory.py``). The whole was not
measured on a GPU so far; on a machine with one, ``bench/gpu_memory.py`` prints it beside what torch allocates there.

Logits are not in it: TRL (1.16) projects 4,096 positions at a time onto a part of the vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from arkor.backend.training_worker.limits.linear_layers import linear_layers
from arkor.protocol.config import JobConfig

_NUMBER = 2  # bytes of a float16 or bfloat16
_FOUR_BITS = 0.55  # bytes of a number in NF4 with its two scales: 0.516, and what does not divide
_TRAINED = 16  # bytes of an adapter's number: itself, its gradient and Adam's two means, in float32
_BESIDE = 2**30  # bytes: the tiles of the logits, and what the libraries of CUDA keep
_USABLE = 0.85  # of the free memory; the rest is for gaps between allocations
_MASK = 5  # bytes of the attention mask a pair of tokens: as bool, as numbers, and copied to an aligned place
_SCORES = 16  # bytes of a head a pair of tokens, if the attention keeps its scores: float32 and two copies, gradients
_ENDS = 16  # bytes of each number behind the last layer: the final norm, and the gradients of the logits, in float32
_STEP = 64  # tokens


@attrs.frozen(kw_only=True)
class StepMemory:
    """What a training step takes, see the head of this module.

    Attributes:
        fixed: bytes that do not depend on the rows: the weights, the adapter with its optimizer, and the libraries.
        batch_size: rows a step.
        a_token: bytes a token: what each layer keeps for the backward pass of gradient checkpointing, and what one
            layer takes while it is computed again; without gradient checkpointing what all layers take.
        a_pair: bytes a pair of tokens.
    """

    fixed: int
    batch_size: int
    a_token: int
    a_pair: int

    @classmethod
    def of(cls, model_config: Any, config: JobConfig) -> StepMemory:
        """Estimate it.

        Args:
            model_config: the base model's configuration, of transformers.
            config: the job's settings.
        """
        model = _without_weights(model_config)
        linear = linear_layers(model).values()
        number = _NUMBER * (2 if config.dtype == "float32" else 1)
        in_layers = sum(layer.weight.numel() for layer in linear)
        in_layers_bytes = in_layers * (_FOUR_BITS if config.value("load_in_4bit") else number)
        rank = config.value("lora_r")
        adapter = rank * sum(sum(layer.weight.shape) for layer in linear)
        text = model_config.get_text_config()
        hidden = _size(text, "hidden_size", 0)
        heads = _size(text, "num_attention_heads", 0) if model.config._attn_implementation == "eager" else 0
        layers, a_layer = _size(text, "num_hidden_layers", 0), layer_bytes(text, rank) * number // _NUMBER
        in_all_layers = (
            layers * a_layer if config.gradient_checkpointing is False else layers * hidden * number + a_layer
        )
        return cls(
            fixed=int((model.num_parameters() - in_layers) * number + in_layers_bytes) + adapter * _TRAINED + _BESIDE,
            batch_size=config.value("batch_size"),
            a_token=hidden * _ENDS + in_all_layers,
            a_pair=_MASK + heads * _SCORES,
        )

    def total(self, tokens: int) -> int:
        """Return the bytes of a step, if all its rows have so many tokens."""
        return self.fixed + self.batch_size * (tokens * self.a_token + tokens**2 * self.a_pair)

    def most_tokens(self, free_bytes: int) -> int:
        """Return the tokens of the longest row that a step has memory for, 0 or more.

        Args:
            free_bytes: memory of the GPU before the model is loaded.
        """
        room = max(0.0, free_bytes * _USABLE - self.fixed) / self.batch_size
        tokens = (math.sqrt(self.a_token**2 + 4 * self.a_pair * room) - self.a_token) / (2 * self.a_pair)
        return int(tokens) // _STEP * _STEP


def layer_bytes(text: Any, rank: int) -> int:
    """Return the bytes a token that one layer takes in a step.

    For the backward pass it keeps, in numbers of 2 bytes if nothing else is said: the hidden states of two norms in
    float32; copies of them for the adapters of six projections; queries, keys, values and what attention makes of them;
    four vectors of the inner layer; the middle of seven adapters. The backward pass takes the last two once more.

    Args:
        text: the configuration of a model's text part, of transformers.
        rank: of the adapter.
    """
    hidden, heads = _size(text, "hidden_size", 0), _size(text, "num_attention_heads", 1)
    width = _size(text, "head_dim", hidden // heads)
    queries, keys = width * heads, width * _size(text, "num_key_value_heads", heads)
    experts, dense = _size(text, "num_experts_per_tok", 1), _size(text, "intermediate_size", 4 * hidden)
    inner = max(dense, experts * _size(text, "moe_intermediate_size", dense))
    twice = 4 * inner + 7 * rank
    return _NUMBER * (9 * hidden * experts + 6 * queries + 2 * keys + 2 * twice)


def _size(text: Any, name: str, otherwise: int) -> int:
    """Return a size out of a configuration, the largest if each layer has its own."""
    value = getattr(text, name, None)
    sizes = value if isinstance(value, (list, tuple)) else [value]
    return max((size for size in sizes if isinstance(size, int) and size > 0), default=otherwise)


def _without_weights(model_config: Any) -> Any:
    """Return a model that takes no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(model_config)
