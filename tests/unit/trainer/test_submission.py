"""What a trainer would submit, beside a job that is there."""

from __future__ import annotations

from typing import Any

import pytest

import arkor
from arkor.client.result import TrainingResult
from arkor.errors import ConfigError
from arkor.protocol.jobs import AdapterRef, TrainingJob
from arkor.trainer.submission import Submission

ROWS = {"type": "blob", "url": "https://files.example/rows.jsonl", "token": "secret"}
KEPT = {"type": "blob", "url": "https://files.example/rows.jsonl"}
BASE = {"kind": "final", "jobId": "job_1"}


def submission(**settings: Any) -> Submission:
    """Return what a trainer with these settings submits."""
    usual: dict[str, Any] = {"name": "run", "model": "m", "dataset": ROWS, "eval_dataset": None, "lora": None}
    usual |= dict.fromkeys(("base_adapter", "allow_dropped_fields", "dataset_format", "dataset_split"))
    return Submission.of(**{**usual, **settings})


def job(**config: Any) -> TrainingJob:
    """Return a job as a backend describes it."""
    return TrainingJob(id="job_1", config={"model": "m", "datasetSource": KEPT, **config})


def test_what_a_backend_takes_out_and_adds_is_no_difference() -> None:
    """The token of a source, the hash of an adapter, settings that were not given."""
    asked = submission(base_adapter="job_1", max_steps=3)
    assert asked.differences(job(baseAdapter={**BASE, "sha256": "0" * 64}, loraR=8, maxSteps=3)) == []


def test_another_setting_is_a_difference() -> None:
    """By its wire name."""
    other = {"type": "blob", "url": "https://files.example/others.jsonl"}
    asked = submission(base_adapter=AdapterRef("checkpoint", "job_1", 3), dataset_split={"eval_fraction": 0.1})
    found = asked.differences(job(baseAdapter=BASE, datasetSource=other, datasetSplit={"evalFraction": 0.1, "seed": 1}))
    assert sorted(found) == ["baseAdapter", "datasetSource", "datasetSplit"]


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ("job_1", BASE),
        (AdapterRef("checkpoint", "job_1", 40), {"kind": "checkpoint", "jobId": "job_1", "step": 40}),
        ({"kind": "checkpoint", "job_id": "job_1", "step": 40}, {"kind": "checkpoint", "jobId": "job_1", "step": 40}),
        (TrainingResult(TrainingJob(id="job_1", status="completed"), ()), BASE),
    ],
)
def test_an_adapter_to_go_on_from_is_named_in_four_ways(given: Any, sent: dict[str, Any]) -> None:
    """As a job's id, a reference, a mapping, or a result."""
    assert submission(base_adapter=given).config.base_adapter == sent


@pytest.mark.parametrize("given", ["", 3, {"kind": "newest", "job_id": "job_1"}, AdapterRef("checkpoint", "job_1")])
def test_what_names_no_adapter_is_refused(given: Any) -> None:
    """Before anything is sent."""
    with pytest.raises(ConfigError, match=r"base_adapter: must be like"):
        submission(base_adapter=given)


def test_a_run_without_a_final_adapter_is_none_to_go_on_from() -> None:
    """The error says how it ended."""
    failed = TrainingResult(TrainingJob(id="job_1", status="failed"), ())
    with pytest.raises(ConfigError, match="base_adapter: job job_1 has no final adapter: its status is failed"):
        arkor.Trainer(name="run", model="m", dataset=ROWS, base_adapter=failed)
