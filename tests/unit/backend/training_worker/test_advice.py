"""What is said of settings that will hardly do much."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.training_worker.advice import advice
from arkor.protocol.config import JobConfig

SMALL, LARGE = 134_515_008, 8_000_000_000


def said(steps: int, examples: int, parameters: int = LARGE, **settings: Any) -> list[str]:
    config = JobConfig(model="m", dataset_source={"type": "dataset"}, **settings)
    return advice(config, steps=steps, examples=examples, parameters=parameters)


@pytest.mark.parametrize(
    ("steps", "settings", "expected"),
    [
        (20, {}, ["in 20 steps of 4 rows the model sees 80 of 360 examples: 90 steps show all of them once"]),
        (
            20,
            {"gradient_accumulation_steps": 4},
            ["in 20 steps of 16 rows the model sees 320 of 360 examples: 23 steps show all of them once"],
        ),
        (
            1,
            {"batch_size": 1},
            ["in 1 step of 1 row the model sees 1 of 360 examples: 360 steps show all of them once"],
        ),
        (90, {}, []),
        (2, {"dry_run": True}, []),
    ],
)
def test_rows_that_are_never_seen(steps: int, settings: dict[str, Any], expected: list[str]) -> None:
    """A batch counts as often as it is accumulated."""
    assert said(steps, 360, **settings) == expected


@pytest.mark.parametrize(
    ("parameters", "steps", "rate", "is_little"),
    [(SMALL, 81, 2e-4, True), (SMALL, 54, 1e-3, False), (SMALL, 20, None, True), (LARGE, 20, None, False)],
)
def test_a_rate_at_which_a_small_model_learns_little(
    parameters: int, steps: int, rate: float | None, is_little: bool
) -> None:
    """As measured on three files; nothing was measured of large models."""
    found = said(steps, 60, parameters, learning_rate=rate)
    assert len(found) == is_little
    if is_little:
        begin = f"learning_rate 0.0002 over {steps} steps is little for a model of 135 million parameters: "
        assert found[0].startswith(begin)
