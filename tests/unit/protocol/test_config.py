"""The settings of a job: each field's range, and the messages that name it."""

from __future__ import annotations

import json
import math
import sys
from typing import Any

import attrs
import pytest

from arkor.client.stream import ReconnectPolicy
from arkor.errors import ConfigError
from arkor.protocol.config import BEST_BY, JobConfig, LoraConfig
from arkor.protocol.wire import wire_name
from arkor.text import short_repr

SOURCE = {"type": "huggingface", "name": "a/b"}
NOT_WHOLE: list[Any] = [1.5, "3", True, math.nan, [1]]
NOT_REAL: list[Any] = ["0.1", True, math.nan, math.inf, -math.inf, [1.0], 10**400]
NOT_TEXT: list[Any] = ["", "  ", 3, ["adamw"], True, "x" * 2001, "\ud83d"]
NOT_FLAG: list[Any] = [0, 1, "true", []]
NOT_OBJECT: list[Any] = ["chatml", 3, ["a"], True]
ANY_JSON: list[Any] = ["auto", 3, 0.5, [], ["a", {"b": None}], {"camelCase": {"snake_case": True}}]
NOT_JSON: list[Any] = [math.nan, {1, 2}, [object()], "\ud83d", {"a": ["\ud83d"]}, "x" * 10_001]
TEXT = "a text of 1 to 2000 characters"
OBJECT = "a mapping of at most 10000 characters as JSON"
JSON = "a JSON value of at most 10000 characters"
STEPS = "a whole number, 1 to 1000000000"

# field: (values it takes, values it refuses, what the refusal says it must be)
RANGES: dict[str, tuple[list[Any], list[Any], str]] = {
    "model": (["m", "owner/name"], NOT_TEXT, TEXT),
    "base_adapter": (
        [{"kind": "final", "jobId": "j"}, {"kind": "checkpoint", "jobId": "j", "step": 3}],
        [{}, {"kind": "last", "jobId": "j"}, {"kind": "final"}, {"kind": "checkpoint", "jobId": "j"}, "j", 3, True],
        'like {"kind": "final", "jobId": …} or {"kind": "checkpoint", "jobId": …, "step": …}',
    ),
    "dataset_source": ([SOURCE], NOT_OBJECT, OBJECT),
    "dataset_format": ([{"type": "chatml"}, *ANY_JSON], NOT_JSON, JSON),
    "eval_dataset_source": ([SOURCE], NOT_OBJECT, OBJECT),
    "evaluation": ([{}, {"limit": 3}], NOT_OBJECT, OBJECT),
    "dataset_split": ([{"evalFraction": 0.1}, *ANY_JSON], NOT_JSON, JSON),
    "max_steps": ([1, 10**9], [0, -1, 10**30, *NOT_WHOLE], STEPS),
    "num_train_epochs": ([0.1, 10**6], [0, -0.5, 1e7, *NOT_REAL], "a number above 0, at most 1000000"),
    "learning_rate": (
        [sys.float_info.min, 1e6],
        [0, 0.0, -1e-9, 1e7, *NOT_REAL],
        "a number above 0, at most 1000000",
    ),
    "batch_size": ([1, 10**6], [0, -1, 10**7, *NOT_WHOLE], "a whole number, 1 to 1000000"),
    "devices": ([1, 8, 1024], [0, -1, 1025, *NOT_WHOLE], "a whole number, 1 to 1024"),
    "eval_batch_size": ([1, 10**6], [0, -1, 10**7, *NOT_WHOLE], "a whole number, 1 to 1000000"),
    "optim": (["adamw_torch"], NOT_TEXT, TEXT),
    "lr_scheduler_type": (["cosine"], NOT_TEXT, TEXT),
    "weight_decay": ([0, 0.0, 1e6], [-0.1, 1e7, *NOT_REAL], "a number of at least 0, at most 1000000"),
    "warmup_steps": (
        [0, 0.0, 0.1, 1, 10**9],
        [-1, -0.1, 10**30, *NOT_WHOLE],
        "a whole number of steps, or a number below 1 as a share of them",
    ),
    "neftune_noise_alpha": ([0.5, 5], [0, 1e7, *NOT_REAL], "a number above 0, at most 1000000"),
    "train_sampling_strategy": (
        ["random", "sequential", "group_by_length"],
        ["length", "", 3],
        "one of random, sequential, group_by_length",
    ),
    "dtype": (["bfloat16", "float16", "float32"], ["bf16", "", 16], "one of bfloat16, float16, float32"),
    "gradient_checkpointing": ([True, False], NOT_FLAG, "True or False"),
    "logging_steps": ([1, 10**9], [0, 10**30, *NOT_WHOLE], STEPS),
    "save_steps": ([1, 10**9], [0, 10**30, *NOT_WHOLE], STEPS),
    "save_total_limit": ([1, 10**6], [0, 10**7, *NOT_WHOLE], "a whole number, 1 to 1000000"),
    "eval_steps": ([1, 10**9], [0, 10**30, *NOT_WHOLE], STEPS),
    "train_on_responses_only": ([True, False, *ANY_JSON], NOT_JSON, JSON),
    "gradient_accumulation_steps": (
        [1, 10**6],
        [0, 10**7, *NOT_WHOLE],
        "a whole number, 1 to 1000000",
    ),
    "max_grad_norm": ([0, 1e12], [-0.1, 1e13, *NOT_REAL], "a number of at least 0, at most 1000000000000"),
    "seed": ([0, 2**32 - 1], [-1, 2**32, *NOT_WHOLE], "a whole number, 0 to 4294967295"),
    "full_determinism": ([True, False], NOT_FLAG, "True or False"),
    "data_seed": ([0, 2**32 - 1], [-1, 2**32, *NOT_WHOLE], "a whole number, 0 to 4294967295"),
    "lora_target_modules": (
        ["all-linear", ["q_proj"], ["q_proj", "mlp.up_proj"]],
        ["q_proj", ".*", [], [3], {"q_proj": 1}, ["q_proj", ""]],
        "all-linear, or a list of 1 to 1000 names of modules",
    ),
    "lora_dropout": ([0, 0.5, 1], [-0.1, 1.1, *NOT_REAL], "a number of at least 0, at most 1"),
    "use_rslora": ([True, False], NOT_FLAG, "True or False"),
    "use_dora": ([True, False], NOT_FLAG, "True or False"),
    "init_lora_weights": (
        [True, False, "gaussian", "orthogonal"],
        ["pissa", 1, 0, "true", []],
        "one of True, False, gaussian, orthogonal",
    ),
    "modules_to_save": (
        [["lm_head"], ["lm_head", "embed_tokens"]],
        [[], "lm_head", [3], [""], 3, True],
        "a list of 1 to 1000 names of modules",
    ),
    "layers_to_transform": (
        [0, [3], [0, 1, 2]],
        [-1, [], [1.5], "3", True, [True]],
        "the number of a layer from 0, or a list of 1 to 1000 numbers",
    ),
    "lora_r": ([1, 16384], [0, 16385, 10**30, *NOT_WHOLE], "a whole number, 1 to 16384"),
    "lora_alpha": ([0.5, 1e6], [0, 1e7, *NOT_REAL], "a number above 0, at most 1000000"),
    "max_length": ([8, 10**7], [7, 0, 10**8, *NOT_WHOLE], "a whole number, 8 to 10000000"),
    "excess_length": (["truncate", "drop", "error"], ["cut", "", 3, True, ["drop"]], "one of truncate, drop, error"),
    "sample_prompts": (
        [1, 20, ["Hello?"], [[{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hello?"}], "x"]],
        [0, -1, 21, 10**30],  # for others see test_samples.py
        "a whole number of held-out rows, 1 to 20, or a list of 1 to 20 prompts, each a text or a list of messages",
    ),
    "sample_budget": ([0.001, 1], [0, 1.1, *NOT_REAL], "a number above 0, at most 1"),
    "load_best_model_at_end": ([True, False], NOT_FLAG, "True or False"),
    "metric_for_best_model": (
        ["eval_loss", "loss", "eval_mean_token_accuracy", "mean_token_accuracy", "json_fields", "f1"],
        ["acuracy", "", 3, True],
        f"one of {', '.join(BEST_BY)}",
    ),
    "greater_is_better": ([True, False], NOT_FLAG, "True or False"),
    "early_stopping_patience": ([1, 10**6], [0, -1, 10**7, *NOT_WHOLE], "a whole number, 1 to 1000000"),
    "early_stopping_threshold": ([0, 0.5, 1e6], [-0.1, 1e7, *NOT_REAL], "a number of at least 0, at most 1000000"),
    "apply_chat_template": ([True, False], NOT_FLAG, "True or False"),
    "chat_template_kwargs": (
        [{}, {"enable_thinking": False}],
        [{"tools": []}, {"chat_template": "x"}, {"eos_token": "x"}, {"a b": 1}, {1: 2}, *NOT_OBJECT],
        f"{OBJECT}, of names that the chat template knows",
    ),
    "escape_special_tokens": ([True, False], NOT_FLAG, "True or False"),
    "allow_dropped_fields": (
        [[], ["reasoning_content", "tools"]],
        [["name"], "tools", [3], {"tools": 1}, 3],
        "a list of content, reasoning_content, tool_calls, tools",
    ),
    "load_in_4bit": ([True, False], NOT_FLAG, "True or False"),
    "dry_run": ([True, False], NOT_FLAG, "True or False"),
}
NEEDS: dict[str, dict[str, Any]] = {
    "sample_prompts": {"save_steps": 2},
    "sample_budget": {"save_steps": 2, "sample_prompts": 3},
}
GOOD = [(field, value) for field, (values, _, _) in RANGES.items() for value in values]
BAD = [(field, value, says) for field, (_, values, says) in RANGES.items() for value in values]


def config(**settings: Any) -> JobConfig:
    """Return a config with the required fields filled in."""
    return JobConfig(**{"model": "m", "dataset_source": SOURCE, **settings})


def test_every_field_has_its_range_here() -> None:
    """A new setting joins the table."""
    assert set(RANGES) == {field.name for field in attrs.fields(JobConfig)} - {"extra"}


@pytest.mark.parametrize(("field", "value"), GOOD)
def test_a_value_in_its_range_travels(field: str, value: Any) -> None:
    """Under its wire name, unchanged, and back."""
    given = config(**{**NEEDS.get(field, {}), field: value})
    body = given.to_wire()
    assert body[wire_name(field)] == value
    assert JobConfig.from_wire(body) == given


@pytest.mark.parametrize(("field", "value", "says"), BAD, ids=lambda value: repr(value)[:20])
def test_a_value_out_of_its_range_is_named(field: str, value: Any, says: str) -> None:
    """The setting's Python name, what it must be, and the value seen, unless it is a mapping: it may hold a token."""
    with pytest.raises(ConfigError) as raised:
        config(**{field: value})
    assert raised.value.field == field
    seen = "" if isinstance(value, dict) else f", not {short_repr(value)}"
    assert str(raised.value) == f"{field}: must be {says}{seen}"


@pytest.mark.parametrize("token", ["x" * 10_001, {1, 2}, "\ud83d", math.nan])
def test_a_mapping_that_cannot_travel_is_refused_without_being_shown(token: Any) -> None:
    """It may hold a data set's token."""
    with pytest.raises(ConfigError) as raised:
        config(dataset_source={"token": token})
    assert str(raised.value) == f"dataset_source: must be {OBJECT}"


def test_a_number_of_thousands_of_digits_is_named_by_its_type() -> None:
    """Python has no text for it."""
    with pytest.raises(ConfigError, match="not a value of type int"):
        config(lora_r=10**5000)


@pytest.mark.parametrize("field", sorted(set(RANGES) - {"model", "dataset_source"}))
def test_what_is_not_given_is_not_sent(field: str) -> None:
    """Nor is an explicit None."""
    assert config(**{field: None}).to_wire() == {"model": "m", "datasetSource": SOURCE}


@pytest.mark.parametrize(("body", "field"), [({"model": "m"}, "dataset_source"), ({"datasetSource": SOURCE}, "model")])
def test_a_required_field_that_is_absent_is_named(body: dict[str, Any], field: str) -> None:
    """The backend checks what a client sent by the same rules."""
    with pytest.raises(ConfigError, match="is required") as raised:
        JobConfig.from_wire(body)
    assert raised.value.field == field


def test_rows_are_held_out_in_one_way() -> None:
    """From a source of their own, or from the rows to train on."""
    with pytest.raises(ConfigError, match="cannot be combined with dataset_split: both say which rows") as raised:
        config(eval_dataset_source=SOURCE, dataset_split={"train": "train"})
    assert raised.value.field == "eval_dataset"


def test_unknown_fields_of_a_config_are_kept() -> None:
    """A backend decides what it makes of them."""
    body = {"model": "m", "datasetSource": SOURCE, "gpuType": "H100"}
    assert JobConfig.from_wire(body).extra == {"gpuType": "H100"}
    assert JobConfig.from_wire(body).to_wire() == body


@pytest.mark.parametrize(
    ("lora", "field"),
    [
        ({"r": 0}, "r"),
        ({"alpha": 0}, "alpha"),
        ({"max_length": 3}, "max_length"),
        ({"load_in_4bit": 1}, "load_in_4bit"),
    ],
)
def test_the_adapters_shape_has_the_same_ranges(lora: dict[str, Any], field: str) -> None:
    """And names its own fields."""
    with pytest.raises(ConfigError) as raised:
        LoraConfig(**lora)
    assert raised.value.field == field


def test_a_lora_mapping_may_use_python_names_or_wire_names() -> None:
    """Both give the same value."""
    wanted = LoraConfig(r=8, alpha=32, max_length=512, load_in_4bit=True)
    assert LoraConfig.parse({"r": 8, "alpha": 32, "max_length": 512, "load_in_4bit": True}) == wanted
    assert LoraConfig.parse({"r": 8, "alpha": 32, "maxLength": 512, "loadIn4bit": True}) == wanted
    assert LoraConfig.parse(wanted) is wanted


def test_the_settings_of_a_lora_are_those_that_come_back() -> None:
    """A tuple becomes a list in JSON: the same job would seem to have other settings."""
    settings = LoraConfig(target_modules=("q_proj",), layers_to_transform=(0, 1)).to_settings()
    sent = config(**settings)
    assert JobConfig.from_wire(json.loads(json.dumps(sent.to_wire()))) == sent


@pytest.mark.parametrize("value", [{"rank": 8}, {"r": 8, "lora_dropout": 0.1}, "r=8", 16, [8, 16]])
def test_a_lora_that_is_none_is_refused(value: Any) -> None:
    """An unknown key is named, and so are the known ones."""
    with pytest.raises(ConfigError, match=r"^lora: "):
        LoraConfig.parse(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_delay", -1),
        ("base_delay", math.inf),
        ("base_delay", 1e7),
        ("max_delay", "60"),
        ("max_attempts", -1),
        ("max_attempts", 1.5),
        ("max_attempts", 10**30),
        ("idle_timeout", 0),
        ("idle_timeout", 1e7),
    ],
)
def test_a_reconnect_policy_has_ranges_too(field: str, value: Any) -> None:
    """Named like every other setting."""
    with pytest.raises(ConfigError) as raised:
        ReconnectPolicy(**{field: value})
    assert raised.value.field == field
