"""What made an adapter, as it travels and as people read it."""

from __future__ import annotations

import copy
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


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("versions", "torch"), "2.14.0", "the version of torch was 2.13.0, and is 2.14.0 now"),
        (("device",), "cuda", "the device was cpu, and is cuda now"),
        (("dtype",), "bfloat16", "the dtype was float32, and is bfloat16 now"),
        (("threads",), 1, "the number of threads was 2, and is 1 now"),
        (("model", "revision"), "f00", "the revision of the model was c0ffee, and is f00 now"),
        (("rows", "sha256"), "a0", "the sha256 of the rows was 9f, and is a0 now"),
        (("heldOutRows", "id"), "cd", "the id of the held-out rows was ab, and is cd now"),
        (("baseAdapter",), {"sha256": "1"}, "the sha256 of the base adapter was absent, and is 1 now"),
        (("chatTemplateSha256",), "ef", "the SHA-256 of the chat template was cd, and is ef now"),
        (("settings", "seed"), 43, "the setting seed was 42, and is 43 now"),
    ],
)
def test_the_first_difference_is_named(path: tuple[str, ...], value: Any, said: str) -> None:
    """With both values."""
    before = TrainingRecord.from_wire(WIRE)
    changed = copy.deepcopy(WIRE)
    part = changed if len(path) == 1 else changed[path[0]]
    part[path[-1]] = value
    after = TrainingRecord.from_wire(changed)
    assert before is not None
    assert after is not None
    assert str(before.first_difference(after)) == said


def test_versions_come_before_settings() -> None:
    """The cause before its effects; equal records differ in nothing."""
    one = TrainingRecord(versions={"torch": "1"}, settings={"seed": 1})
    other = TrainingRecord(versions={"torch": "2"}, settings={"seed": 2})
    found = one.first_difference(other)
    assert found is not None
    assert (found.what, found.then, found.now) == ("the version of torch", "1", "2")
    assert one.first_difference(one) is None


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
