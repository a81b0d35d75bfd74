"""Which evaluation is the best, and how long a better one is waited for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, strategies as st

from arkor.backend.training_worker.best import Rule, Standing


def after(losses: list[float], threshold: float = 0.0) -> Standing:
    """Return the standing after evaluations at the steps 1, 2, 3 and so on."""
    rule, standing = Rule(keeps_adapter=True, patience=None, threshold=threshold), Standing()
    for step, loss in enumerate(losses, start=1):
        standing = standing.after(rule, step, loss)
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
    assert (standing.step, standing.loss, standing.waited) == (step, min(losses), len(losses) - step)
