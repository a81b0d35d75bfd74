"""What made an adapter, as it travels and as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.protocol.record import TrainingRecord

WIRE: dict[str, Any] = {
    "settings": {"seed": 42},
    "model": {"name": "owner/base", "revision": "c0ffee"},
    "rows": {"type": "blob", "url": "https://host/rows.jsonl", "sha256": "9f"},
    "heldOutRows": {"type": "dataset", "id": "ab"},
    "chatTemplateSha256": "cd",
    "versions": {"torch": "2.13.0"},
    "device": "cpu",
    "dtype": "float32",
    "threads": 2,
    "later": {"a": 1},
}


def test_a_record_travels_unchanged() -> None:
    """With fields of a newer backend."""
    record = TrainingRecord.from_wire(WIRE)
    assert record is not None
    assert record.to_wire() == WIRE
    assert record.extra == {"later": {"a": 1}}


@pytest.mark.parametrize("value", [None, "record", 3, [WIRE]])
def test_no_object_is_no_record(value: Any) -> None:
    """An older backend has none."""
    assert TrainingRecord.from_wire(value) is None


def test_odd_values_count_as_absent() -> None:
    """None of them ends a wait."""
    odd = {"settings": 1, "model": [], "rows": "x", "heldOutRows": 2, "versions": {"torch": 2}, "threads": "two"}
    assert TrainingRecord.from_wire(odd) == TrainingRecord(versions={"torch": "2"})


def test_people_read_it_in_a_line_each() -> None:
    """What is not known is left out."""
    record = TrainingRecord.from_wire(WIRE)
    assert record is not None
    assert record.facts() == {
        "model": "owner/base, c0ffee",
        "rows": "https://host/rows.jsonl, 9f",
        "machine": "cpu, float32, 2 threads",
        "versions": "torch 2.13.0",
    }
    assert set(TrainingRecord().facts().values()) == {""}
