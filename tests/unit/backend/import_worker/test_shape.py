"""What ``adapter_config.json`` may say: fields out of their range, and options that are not known here, are named."""

from __future__ import annotations

import json
from typing import Any

import pytest
from peft import LoraConfig

from arkor.backend.import_worker.shape import read_shape
from arkor.errors import ModelError

GOOD: dict[str, Any] = {
    "peft_type": "LORA",
    "task_type": "CAUSAL_LM",
    "r": 8,
    "lora_alpha": 16,
    "target_modules": ["q"],
}


def read(**changes: Any) -> Any:
    """Return the shape of a good configuration with changes; None leaves a field out."""
    config = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return read_shape(json.dumps(config).encode())


def test_the_shape_becomes_settings_of_a_job() -> None:
    """By their Python names; what a job has no setting for is kept for PEFT."""
    shape = read(
        use_dora=True,
        layers_to_transform=[1],
        modules_to_save=["head"],
        rank_pattern={"q": 4},
        alpha_pattern={"q": 2.5},
    )
    assert shape.settings == {
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_target_modules": ["q"],
        "use_dora": True,
        "layers_to_transform": [1],
        "modules_to_save": ["head"],
    }
    assert (shape.peft.rank_pattern, shape.peft.alpha_pattern) == ({"q": 4}, {"q": 2.5})


def test_all_that_peft_writes_by_itself_is_taken() -> None:
    """Also with options that have the value of their default, and that say nothing of the weights."""
    written = LoraConfig(r=4, lora_alpha=8, target_modules=["q"], task_type="CAUSAL_LM", init_lora_weights="gaussian")
    content = json.dumps({**written.to_dict(), "auto_mapping": {"base_model_class": "X"}}, default=list).encode()
    assert read_shape(content).settings["lora_r"] == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"peft_type": "IA3"}, r"adapter_config\.json: peft_type is 'IA3', and LoRA adapters alone"),
        ({"peft_type": "ADALORA"}, "peft_type is 'ADALORA'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"task_type": "SEQ_CLS"}, "task_type is 'SEQ_CLS', and adapters of models that write text alone"),
        ({"task_type": ["CAUSAL_LM"]}, "task_type is "),
        ({"r": None}, r"adapter_config\.json: r is missing"),
        ({"target_modules": None}, "target_modules is missing"),
        ({"r": 0}, r"r must be a whole number, 1 to 16384, not 0"),
        ({"r": "8"}, "r must be a whole number"),
        ({"r": True}, "r must be a whole number"),
        ({"lora_alpha": 0}, "lora_alpha must be a number above 0"),
        ({"lora_dropout": 2}, "lora_dropout must be a number of at least 0"),
        (
            {"target_modules": {"q": 1}},
            "target_modules must be all-linear, or a list of 1 to 1000 names of modules, or a",
        ),
        ({"target_modules": "x" * 1001}, "target_modules must be"),
        ({"use_dora": "yes"}, "use_dora must be True or False"),
        ({"layers_to_transform": [-1]}, "layers_to_transform must be"),
        ({"modules_to_save": "head"}, "modules_to_save must be"),
        (
            {"rank_pattern": {"q": 0}},
            "rank_pattern must be a mapping of patterns to values that are each a whole number",
        ),
        ({"alpha_pattern": ["q"]}, "alpha_pattern must be a mapping"),
        (
            {"init_lora_weights": "pissa"},
            "init_lora_weights is 'pissa', which changes the base model; let PEFT convert",
        ),
        ({"init_lora_weights": 1}, "init_lora_weights is 1"),
        ({"bias": "all"}, "bias is 'all', which this backend cannot compute"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"layer_replication": [[0, 1]]}, "layer_replication is "),
        ({"target_parameters": ["experts"]}, "target_parameters is "),
        ({"trainable_token_indices": [1]}, "trainable_token_indices is "),
        ({"exclude_modules": ["k"]}, "exclude_modules is "),
        ({"new_in_some_later_peft": {"scale": 2}}, "new_in_some_later_peft is "),
    ],
)
def test_others_are_refused_by_their_name(changes: dict[str, Any], says: str) -> None:
    """With the value."""
    with pytest.raises(ModelError, match=says):
        read(**changes)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'"text"', b"\xff", b"[" * 3000, b'{"r": ' + b"9" * 5000 + b"}"])
def test_what_is_no_json_object_is_refused(content: bytes) -> None:
    """With the name of the file."""
    with pytest.raises(ModelError, match=r"^adapter_config\.json: "):
        read_shape(content)
