"""What is said of settings that will hardly do much."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.backend.training_worker.advice import advice
from arkor.protocol.config import JobConfig

SMALL, LARGE = 134_515_008, 8_000_000_000


def said(
    steps: int, examples: int, parameters: int = LARGE, *, tokens: int = 10_000, adapter: int = 1000, **settings: Any
) -> list[str]:
    config = JobConfig(model="m", dataset_source={"type": "dataset"}, **settings)
    return advice(config, steps=steps, examples=examples, counted_tokens=tokens, parameters=parameters, adapter=adapter)


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


@pytest.mark.parametrize(
    ("adapter", "tokens", "is_large"),
    [(78_151_680, 15_851, True), (78_151_680, 80_000, False), (19_537_920, 15_851, False)],
)
def test_a_rank_that_is_large_for_the_model_and_the_rows(adapter: int, tokens: int, is_large: bool) -> None:
    """As measured on the tickets of examples/triage; many rows may be worth it."""
    found = said(90, 360, SMALL, tokens=tokens, adapter=adapter, lora_r=256, learning_rate=1e-3)
    assert len(found) == is_large
    if is_large:
        assert found[0].startswith(
            "rank 256 is large for this model and 15,851 tokens to learn: the adapter has 58% as many numbers as the "
        )
