"""The estimate of a training's memory, and what a refusal advises. ``bench/memory.py`` compares it with trainings."""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest

from arkor.backend.models.cpu_memory import Batch, TrainingMemory, refusal
from arkor.backend.models.sizes import ModelSizes
from arkor.protocol.config import JobConfig

GIB = 2**30
SIZES = ModelSizes(
    parameters=134_515_008,
    hidden=576,
    layers=30,
    heads=9,
    key_heads=3,
    head_width=64,
    inner=1536,
    vocabulary=49152,
)
BATCH = Batch(rows=4, tokens=512, counted=1000)


def job(**settings: Any) -> JobConfig:
    return JobConfig(model="small", dataset_source={"type": "dataset"}, **settings)


def total(batch: Batch = BATCH, held_out: Batch | None = None, **settings: Any) -> int:
    return TrainingMemory.of(SIZES, job(**settings), batch, held_out).total


def test_what_takes_more() -> None:
    """Each of these settings counts."""
    usual = total()
    more: list[int] = [
        *(
            total(attrs.evolve(BATCH, **change))
            for change in ({"rows": 8}, {"tokens": 1024}, {"counted": 2000}, {"varies": True})
        ),
        *(total(**change) for change in ({"lora_r": 64}, {"modules_to_save": ["lm_head"]})),
        total(held_out=Batch(rows=64, tokens=512, counted=20_000)),
    ]
    less: list[int] = [
        *(total(**change) for change in ({"dtype": "bfloat16"}, {"gradient_checkpointing": True}, {"optim": "sgd"})),
        *(total(**change) for change in ({"lora_target_modules": ["q_proj"]}, {"layers_to_transform": [0, 1]})),
        total(optim="adafactor"),
    ]
    assert max(less) < usual < min(more)
    assert total(held_out=Batch(rows=1, tokens=8, counted=4)) == usual


@pytest.mark.parametrize("available", [4 * GIB, 3 * GIB, 5 * GIB // 2])
def test_a_refusal_names_three_changes_that_fit(available: int) -> None:
    """Each does, when it is tried: alone as long as one suffices, else with others."""

    def estimate(config: JobConfig) -> TrainingMemory:
        tokens = min(2048, config.max_length or 2048)
        return TrainingMemory.of(SIZES, config, Batch(rows=1, tokens=tokens, counted=tokens))

    config = job(lora_r=256)
    assert estimate(config).total > available
    text = refusal(config, estimate, available)
    assert re.match(r"Not enough memory to train small: it takes about [\d.]+ GiB \([\d.]+ GiB of weights, ", text)
    assert f"and {available / GIB:.1f} GiB are available. It would fit with " in text
    ways = text.partition("fit with ")[2].removesuffix(".").split("; or with ")
    assert len(ways) == 3
    for way in ways:
        changes = eval(f"dict({way.replace(' and ', ', ')})")
        assert estimate(attrs.evolve(config, **changes)).total <= available


def test_each_device_takes_as_much() -> None:
    """On the processor, each has a process with the whole model; what it exchanges comes on top. One would do."""
    assert 2 * total() < total(devices=2) < 2.1 * total()

    def estimate(config: JobConfig) -> TrainingMemory:
        return TrainingMemory.of(SIZES, config, BATCH)

    assert "It would fit with devices=1; or with " in refusal(job(devices=2), estimate, total() + 1)


def test_what_can_never_fit_is_said_plainly() -> None:
    """No setting makes the weights smaller than this."""
    sizes = attrs.evolve(SIZES, parameters=7_000_000_000)

    def estimate(config: JobConfig) -> TrainingMemory:
        return TrainingMemory.of(sizes, config, Batch(rows=1, tokens=8))

    assert refusal(job(), estimate, 8 * GIB).endswith("8.0 GiB are available. Take a smaller model, or free memory.")
