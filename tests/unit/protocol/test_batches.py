"""The batches of a job whose memory ran out."""

from __future__ import annotations

import pytest

from arkor.protocol.batches import Batches


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        ({"batchSize": 8}, [(8, 1), (4, 2), (2, 4), (1, 8)]),
        ({"batchSize": 6, "gradientAccumulationSteps": 2}, [(6, 2), (3, 4), (1, 12)]),
        ({"batchSize": 7}, [(7, 1), (1, 7)]),
        ({}, [(4, 1), (2, 2), (1, 4)]),
    ],
)
def test_they_become_smaller_until_they_have_one_row(config: dict[str, int], steps: list[tuple[int, int]]) -> None:
    """An optimizer step always takes as many rows; the sizes are those that divide the first one."""
    found = []
    batches: Batches | None = Batches.of(config)
    while batches is not None:
        found.append((batches.size, batches.count))
        assert Batches.of(config, batches.size) == batches
        batches = batches.smaller()
    assert found == steps
    assert len({size * count for size, count in found}) == 1


def test_the_settings_have_them() -> None:
    """Batches of evaluations become smaller, too; settings that nothing changes stay as they are."""
    config = {"model": "m", "batchSize": 8, "evalBatchSize": 6}
    assert Batches(2, 4).applied_to(config) == {
        "model": "m",
        "batchSize": 2,
        "gradientAccumulationSteps": 4,
        "evalBatchSize": 1,
    }
    assert Batches.of(config).applied_to(config) == config
    assert Batches(2, 2).applied_to({}) == {"batchSize": 2, "gradientAccumulationSteps": 2}
