"""Which evaluation is the best, and how long a better one is waited for."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from arkor.backend.training_worker.best import Rule, Standing
from arkor.protocol.config import JobConfig


def after(values: list[float], threshold: float = 0.0, **rule: Any) -> Standing:
    """Return the standing after evaluations at the steps 1, 2, 3 and so on."""
    asked, standing = Rule(keeps_adapter=True, patience=None, threshold=threshold, **rule), Standing()
    for step, value in enumerate(values, start=1):
        standing = standing.after(asked, step, {asked.metric: value})
    return standing


@pytest.mark.parametrize(
    ("losses", "threshold", "step", "waited"),
    [
        ([3.0, 2.0, 1.0], 0.0, 3, 0),
        ([3.0, 2.0, 2.0, 2.5], 0.0, 2, 2),
        ([3.0, 2.9, 2.8, 2.0], 0.5, 4, 0),
        ([3.0, 2.9, 2.8], 0.5, 3, 2),
        ([math.nan, 2.0, math.nan], 0.0, 2, 1),
        ([math.nan, math.nan], 0.0, 1, 2),
        ([2.0, math.inf], 0.0, 1, 1),
    ],
)
def test_the_standing_after_evaluations(losses: list[float], threshold: float, step: int, waited: int) -> None:
    """What is better by less than the threshold is the best, and does not end the waiting."""
    standing = after(losses, threshold)
    assert (standing.step, standing.waited) == (step, waited)


@given(st.lists(st.floats(-9, 9), min_size=1))
def test_the_best_is_the_first_of_the_lowest_losses(losses: list[float]) -> None:
    """However they come."""
    standing, step = after(losses), losses.index(min(losses)) + 1
    assert (standing.step, standing.metrics, standing.waited) == (step, {"eval_loss": min(losses)}, len(losses) - step)


def test_a_greater_value_is_better_if_the_rule_says_so() -> None:
    """As for an accuracy."""
    accuracy: dict[str, Any] = {"metric": "eval_mean_token_accuracy", "greater_is_better": True}
    assert (after([0.5, 0.75, 0.75], **accuracy).step, after([0.5, 0.75, 0.8], 0.1, **accuracy).waited) == (2, 1)


@pytest.mark.parametrize(
    ("settings", "metric", "greater_is_better"),
    [
        ({}, "eval_loss", False),
        ({"metric_for_best_model": "loss"}, "eval_loss", False),
        ({"metric_for_best_model": "mean_token_accuracy"}, "eval_mean_token_accuracy", True),
        ({"metric_for_best_model": "json_fields"}, "eval_score", True),
        ({"metric_for_best_model": "f1", "greater_is_better": False}, "eval_score", False),
        ({"metric_for_best_model": "eval_mean_token_accuracy"}, "eval_mean_token_accuracy", True),
        ({"greater_is_better": True}, "eval_loss", True),
        (
            {"metric_for_best_model": "mean_token_accuracy", "greater_is_better": False},
            "eval_mean_token_accuracy",
            False,
        ),
    ],
)
def test_the_rule_of_a_jobs_settings(settings: dict[str, Any], metric: str, greater_is_better: bool) -> None:
    """With and without the prefix, as transformers takes it."""
    rule = Rule.of(JobConfig(model="m", dataset_source={}, **settings))
    assert (rule.metric, rule.greater_is_better) == (metric, greater_is_better)
