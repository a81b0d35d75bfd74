"""The modules of a model that get an adapter."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.training_worker.limits.linear_layers import target_modules
from arkor.errors import ConfigError
from arkor.protocol.config import JobConfig

pytest.importorskip("peft", reason="the local extra is not installed")
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing.*deprecated:FutureWarning")  # of the libraries


@pytest.fixture
def model() -> Any:
    """A model of two layers."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=16, num_hidden_layers=2, **sizes))


def job(**settings: Any) -> JobConfig:
    return JobConfig(model="m", dataset_source={"type": "dataset"}, **settings)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {(layer, name) for layer in (0, 1) for name in ("q", "k", "v", "o", "gate", "up", "down")}),
        ({"layers_to_transform": [1]}, {(1, name) for name in ("q", "k", "v", "o", "gate", "up", "down")}),
        ({"lora_target_modules": ["q_proj", "mlp.up_proj"]}, {(0, "q"), (1, "q"), (0, "up"), (1, "up")}),
        ({"lora_target_modules": ["q_proj"], "layers_to_transform": 0}, {(0, "q")}),
    ],
)
def test_these_modules_get_an_adapter(model: Any, settings: dict[str, Any], expected: set[tuple[int, str]]) -> None:
    """As PEFT puts it on; never the one that makes the logits."""
    from peft import LoraConfig, get_peft_model

    config = job(**settings)
    shape = LoraConfig(
        target_modules=target_modules(model, config),
        layers_to_transform=config.layers_to_transform,
        task_type="CAUSAL_LM",
    )
    names = [name for name, _ in get_peft_model(model, shape).named_modules() if name.endswith("lora_A.default")]
    assert {(int(name.split(".")[4]), name.split(".")[-3].removesuffix("_proj")) for name in names} == expected


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"lora_target_modules": ["q_proj", "c_attn"]},
            "target_modules: the model has no module c_attn; it has down_proj",
        ),
        ({"modules_to_save": ["head"]}, "modules_to_save: the model has no module head; it has down_proj"),
        ({"modules_to_save": ["lm_head", "q_proj"]}, "modules_to_save: q_proj gets an adapter: leave"),
        ({"layers_to_transform": [0, 2]}, "layers_to_transform: 2 is none of the model's layers, 0 to 1"),
    ],
)
def test_what_the_model_lacks_is_named(model: Any, settings: dict[str, Any], says: str) -> None:
    """PEFT would pass over it, or name all modules."""
    with pytest.raises(ConfigError) as raised:
        target_modules(model, job(**settings))
    assert says in str(raised.value)
