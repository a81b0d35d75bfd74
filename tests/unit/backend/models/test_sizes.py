"""The sizes of a model, read from its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.models.sizes import ModelSizes
from tests.support.tiny_model import write_tiny_model

LLAMA: dict[str, Any] = {
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "vocab_size": 49152,
}


def test_a_llama() -> None:
    """The width of its heads follows from the others."""
    sizes = ModelSizes.of(LLAMA, 134_515_008)
    assert sizes is not None
    assert (sizes.head_width, sizes.inner, sizes.key_heads) == (64, 1536, 3)
    assert sizes.linear["k_proj"] == (576, 192)
    assert sizes.linear["down_proj"] == (1536, 576)


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ({"text_config": LLAMA, "hidden_size": 7}, "hidden", 576),  # one of the parts of a model
        ({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}, "inner", 3072),  # names of GPT-2
        ({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}, "key_heads", 12),
        ({**LLAMA, "head_dim": 128}, "head_width", 128),
        ({**LLAMA, "num_key_value_heads": [1, 3, 2]}, "key_heads", 3),  # a layer has its own
        ({**LLAMA, "num_experts_per_tok": 8, "moe_intermediate_size": 768}, "inner", 6144),
    ],
)
def test_other_configurations(config: dict[str, Any], name: str, expected: int) -> None:
    """As the families name their sizes."""
    assert getattr(ModelSizes.of(config, 1), name) == expected


@pytest.mark.parametrize("name", ["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"])
@pytest.mark.parametrize("value", [None, 0, -3, "wide", True, [], {}])
def test_a_configuration_that_does_not_say_it(name: str, value: Any) -> None:
    """No sizes are better than wrong ones."""
    assert ModelSizes.of({**LLAMA, name: value}, 1) is None


@pytest.mark.parametrize("content", ["", "[]", "{", '{"hidden_size": 1}', "[" * 10_000])
def test_a_damaged_configuration(tmp_path: Path, content: str) -> None:
    """Loading the model says what is wrong with it."""
    folder = write_tiny_model(tmp_path)
    (folder / "config.json").write_text(content)
    assert ModelSizes.of_folder(folder) is None


def test_of_a_folder(tmp_path: Path) -> None:
    """The parameters are counted in the files."""
    folder = write_tiny_model(tmp_path)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    sizes = ModelSizes.of_folder(folder)
    assert sizes is not None
    assert (sizes.parameters, sizes.layers) == (2, 30)
    (folder / "model.safetensors").unlink()
    assert ModelSizes.of_folder(folder) is None
