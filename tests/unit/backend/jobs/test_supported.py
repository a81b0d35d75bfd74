"""Each setting does what it says on this backend, or is refused by its name."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.jobs import supported
from arkor.backend.models import hardware
from arkor.errors import ConfigError
from arkor.protocol.config import JobConfig

HUB = {"type": "huggingface", "name": "owner/rows"}
FILE = {"type": "dataset", "id": "0" * 64}


def config(**fields: Any) -> JobConfig:
    return JobConfig.from_wire({"model": "smollm2-135m", "datasetSource": FILE, **fields})


@pytest.fixture(autouse=True)
def _no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_cuda", lambda: False)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optim": "sgd", "lrSchedulerType": "cosine", "warmupSteps": 3, "loadIn4bit": False},
        {"datasetSource": {"type": "blob", "url": "https://host/rows.jsonl?x=1", "token": "t"}},
        {
            "datasetSource": {**HUB, "split": "train", "subset": "en"},
            "datasetSplit": {"train": "train", "eval": "test"},
        },
        {"datasetSource": HUB, "datasetSplit": {"eval": "test"}},
        {"datasetSource": {**HUB, "columns": {"q": "prompt", "a": "completion"}}},
        {"evalDatasetSource": {"type": "blob", "url": "https://host/rows.jsonl", "columns": None}},
        {"datasetSource": HUB, "datasetSplit": {"evalFraction": 0.1}},
        {"datasetSplit": {"evalFraction": 0.15, "seed": 7}},
        {"evalDatasetSource": HUB, "evalSteps": 5},
        {"evalDatasetSource": HUB, "saveSteps": 5, "samplePrompts": 3},
        {"saveSteps": 5, "samplePrompts": ["Hello?"], "sampleBudget": 1},
        {"datasetFormat": {"type": "text"}, "trainOnResponsesOnly": False},
        {"datasetFormat": {"type": "alpaca"}, "trainOnResponsesOnly": True},
    ],
)
def test_what_it_can_do_is_accepted(fields: dict[str, Any]) -> None:
    """Every documented shape passes."""
    supported.check_config(config(**fields))


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"loraBias": "all"}, "lora_bias", "not a setting"),
        ({"optim": "galore_adamw"}, "optim", "adamw_torch"),
        ({"optim": "paged_adamw_8bit"}, "optim", "'paged_adamw_8bit' needs a CUDA device"),
        ({"dtype": "float16"}, "dtype", "float16 needs a CUDA device"),
        ({"loadBestModelAtEnd": True}, "load_best_model_at_end", "set eval_steps"),
        ({"saveTotalLimit": 2}, "save_total_limit", "set save_steps"),
        (
            {"samplePrompts": 3, "saveSteps": 2},
            "sample_prompts",
            "set eval_dataset or dataset_split, or give the prompts",
        ),
        ({"earlyStoppingPatience": 2}, "early_stopping_patience", "set eval_steps"),
        ({"earlyStoppingThreshold": 0.1}, "early_stopping_threshold", "without early_stopping_patience"),
        ({"evalBatchSize": 4}, "eval_batch_size", "needs rows that are held out"),
        ({"lrSchedulerType": "warmup_stable_decay"}, "lr_scheduler_type", "linear"),
        ({"loadIn4bit": True}, "load_in_4bit", "CUDA"),
        ({"datasetSource": {"type": "s3"}}, "dataset_source", "s3"),
        ({"datasetSource": {"type": ["dataset"]}}, "dataset_source", "type must be"),
        ({"datasetSource": {"type": "blob"}}, "dataset_source", "needs url"),
        ({"datasetSource": {"type": "blob", "url": "file:///etc/passwd"}}, "dataset_source", "http"),
        ({"datasetSource": {"type": "blob", "url": "http://[::1"}}, "dataset_source", "http"),
        ({"datasetSource": {"type": "blob", "url": 5}}, "dataset_source", "url must be a text"),
        ({"datasetSource": {**HUB, "revision": "main"}}, "dataset_source", "has no revision"),
        ({"datasetSource": {"type": "huggingface", "name": "imdb"}}, "dataset_source", "stanfordnlp/imdb"),
        ({"datasetSource": {"type": "huggingface", "name": "text"}}, "dataset_source", "owner/name, not 'text'"),
        ({"datasetSource": {"type": "huggingface", "name": "/etc"}}, "dataset_source", "owner/name, not '/etc'"),
        ({"datasetSource": {"type": "dataset", "id": "../../x"}}, "dataset_source", "SHA-256"),
        ({"datasetSource": {**FILE, "columns": {"q": "prompt"}}}, "dataset_source", "has no columns"),
        ({"datasetSource": {**HUB, "columns": "q"}}, "dataset_source", "columns must be old names with their new ones"),
        ({"datasetSource": {**HUB, "columns": {"q": "promt"}}}, "dataset_source", "did you mean prompt"),
        ({"evalDatasetSource": {"type": "s3"}}, "eval_dataset_source", "s3"),
        ({"evalDatasetSource": {"type": "blob"}}, "eval_dataset_source", "needs url"),
        ({"evalDatasetSource": {"type": "blob", "url": "file:///etc/passwd"}}, "eval_dataset_source", "http"),
        ({"evalDatasetSource": {"type": "blob", "url": 5}}, "eval_dataset_source", "url must be a text"),
        ({"evalDatasetSource": {"type": "huggingface", "name": "/etc"}}, "eval_dataset_source", "not '/etc'"),
        ({"evalDatasetSource": {"type": "dataset", "id": "../../x"}}, "eval_dataset_source", "SHA-256"),
        ({"evalSteps": 5}, "eval_steps", "set eval_dataset or dataset_split"),
        ({"datasetFormat": {"type": "parquet"}}, "dataset_format", "parquet"),
        ({"datasetFormat": {"type": "text", "field": "body"}}, "dataset_format", "has no field"),
        ({"datasetFormat": "chat"}, "dataset_format", "one of alpaca, chatml, .* on this backend, not 'chat'"),
        ({"datasetSplit": 0.1}, "dataset_split", "evalFraction.* on this backend, not 0.1"),
        ({"datasetSplit": ["train"], "evalSteps": 2}, "dataset_split", "on this backend"),
        ({"trainOnResponsesOnly": "last"}, "train_on_responses_only", "True or False on this backend, not 'last'"),
        ({"datasetFormat": {"type": "text"}, "trainOnResponsesOnly": True}, "train_on_responses_only", "text"),
        ({"datasetSplit": {}}, "dataset_split", "evalFraction"),
        ({"datasetSplit": {"evalFraction": 1}}, "dataset_split", "between 0 and 1"),
        ({"datasetSplit": {"evalFraction": True}}, "dataset_split", "between 0 and 1"),
        ({"datasetSplit": {"evalFraction": 0.1, "seed": "a"}}, "dataset_split", "seed"),
        ({"datasetSplit": {"evalFraction": 0.1, "train": "train"}}, "dataset_split", "has no train"),
        ({"datasetSplit": {"train": "train", "eval": "test"}}, "dataset_split", "named splits"),
        ({"datasetSource": HUB, "datasetSplit": {"train": 1}}, "dataset_split", "names of splits"),
        ({"datasetSource": {**HUB, "split": "a"}, "datasetSplit": {"train": "b"}}, "dataset_split", "'b'"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(fields: dict[str, Any], field: str, says: str) -> None:
    """The error names the setting and says what is wrong with it."""
    with pytest.raises(ConfigError, match=says) as caught:
        supported.check_config(config(**fields))
    assert caught.value.field == field


def test_four_bits_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CUDA device alone is not enough."""
    monkeypatch.setattr(hardware, "has_cuda", lambda: True)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="bitsandbytes"):
        supported.check_config(config(loadIn4bit=True))


@pytest.mark.parametrize(
    ("has_cuda", "has_mps", "most", "says"),
    [
        (True, False, 2, "must be at most 2 on this backend, which has 2 GPUs, not 4"),
        (False, True, 1, "must be at most 1 on this backend, which has 1 GPU, not 4"),
        (False, False, 3, "must be at most 3 on this backend, which has 3 processor cores, not 4"),
    ],
)
def test_more_devices_than_there_are(
    monkeypatch: pytest.MonkeyPatch, has_cuda: bool, has_mps: bool, most: int, says: str
) -> None:
    """The error says what this machine has."""
    monkeypatch.setattr(hardware, "has_cuda", lambda: has_cuda)
    monkeypatch.setattr(hardware, "has_mps", lambda: has_mps)
    monkeypatch.setattr(hardware, "most_devices", lambda: most)
    with pytest.raises(ConfigError, match=f"devices: {says}"):
        supported.check_config(config(devices=4))
    supported.check_config(config(devices=most))


def test_full_determinism_needs_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of several devices may be rounded otherwise each time."""
    monkeypatch.setattr(hardware, "most_devices", lambda: 2)
    for trains_here in (True, False):
        supported.check_config(config(devices=1, fullDeterminism=True), trains_here=trains_here)
        with pytest.raises(ConfigError, match="devices: must be 1 with full_determinism"):
            supported.check_config(config(devices=2, fullDeterminism=True), trains_here=trains_here)


def test_a_job_on_a_cluster_may_have_more_devices_than_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cluster may grow until it has them."""
    monkeypatch.setattr(hardware, "most_devices", lambda: 1)
    supported.check_config(config(devices=3), trains_here=False)
