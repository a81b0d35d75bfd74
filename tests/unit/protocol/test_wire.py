"""The border between snake_case and camelCase, and between values and what JSON may hold in their place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from arkor.errors import ArkorError, ConnectionFailed
from arkor.protocol import wire
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Artifact, TrainingJob

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@attrs.frozen
class Inner:
    """A value inside another."""

    first_part: int


@attrs.frozen
class Outer:
    """A value that travels."""

    max_steps: int | None = None
    load_in_4bit: bool | None = None
    inner: Inner | None = None
    extra: Mapping[str, Any] = attrs.field(factory=dict)


@pytest.mark.parametrize(
    ("python", "on_wire"),
    [
        ("model", "model"),
        ("max_steps", "maxSteps"),
        ("load_in_4bit", "loadIn4bit"),
        ("lr_scheduler_type", "lrSchedulerType"),
        ("num_train_epochs", "numTrainEpochs"),
        ("lora_r", "loraR"),
        ("sha256", "sha256"),
        ("arkor_cloud_api_url", "arkorCloudApiUrl"),
        ("auth0_domain", "auth0Domain"),
    ],
)
def test_a_name_goes_over_and_comes_back(python: str, on_wire: str) -> None:
    """One mapping, both ways."""
    assert wire.wire_name(python) == on_wire
    assert wire.python_name(on_wire) == python


@pytest.mark.parametrize("cls", [JobConfig, TrainingJob, Artifact])
def test_every_field_that_travels_comes_back(cls: type) -> None:
    """No two fields of a class share a wire name, and each is found again."""
    names = [field.name for field in attrs.fields(cls) if field.name != "extra"]
    assert [wire.python_name(wire.wire_name(name)) for name in names] == names


def test_what_was_not_given_does_not_travel() -> None:
    """Absent, never null; False and 0 are given."""
    assert wire.to_wire(Outer()) == {}
    assert wire.to_wire(Outer(0, False, Inner(1))) == {
        "maxSteps": 0,
        "loadIn4bit": False,
        "inner": {"firstPart": 1},
    }


def test_unknown_fields_are_kept_and_sent_back() -> None:
    """A newer backend's fields survive a round trip."""
    body = {"maxSteps": 3, "brandNew": {"deep_key": 1}}
    outer = Outer(**wire.known_fields(Outer, body))
    assert outer == Outer(3, extra={"brandNew": {"deep_key": 1}})
    assert wire.to_wire(outer) == body


def test_a_null_stands_for_an_absent_field() -> None:
    """It gives the default, not None where a default is."""
    assert wire.known_fields(Outer, {"maxSteps": None}) == {"extra": {}}


@given(JSON)
def test_the_readers_of_values_take_anything(value: Any) -> None:
    """Whatever JSON holds, a reader gives its type or says that there is none."""
    assert isinstance(wire.text(value), str)
    assert isinstance(wire.optional_text(value), str | None)
    assert isinstance(wire.mapping(value), dict)
    assert isinstance(wire.number(value), float | None)
    assert isinstance(wire.whole_number(value), int | None)


@pytest.mark.parametrize(
    ("value", "number", "whole"),
    [
        (3, 3.0, 3),
        (3.0, 3.0, 3),
        (2.5, 2.5, None),
        (True, None, None),
        ("3", None, None),
        (None, None, None),
        (10**400, None, 10**400),
        (float("inf"), float("inf"), None),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_numbers_are_read_as_far_as_they_are_numbers(value: Any, number: float | None, whole: int | None) -> None:
    """No text and no truth value passes for a number; one too large for a float is none."""
    assert wire.number(value) == number
    assert wire.whole_number(value) == whole


class _Answer:
    url = "http://example.com/v1/me?orgSlug=secret"

    def __init__(self, body: str) -> None:
        self.content = body.encode()

    def json(self) -> Any:
        return json.loads(self.content)


def test_the_object_of_an_answer_is_returned() -> None:
    """The usual case."""
    assert wire.json_object(_Answer('{"a": 1}')) == {"a": 1}


def test_an_answer_without_a_body_was_cut() -> None:
    """Its head came, and nothing of its object."""
    with pytest.raises(ConnectionFailed, match=r"^The answer of http://example.com/v1/me was cut") as raised:
        wire.json_object(_Answer(""))
    assert raised.value.sent


@pytest.mark.parametrize("body", ["<html>", "[]", "null", '"text"', "[" * 100_000], ids=range(5))
def test_an_answer_that_is_no_object_is_named_without_its_query(body: str) -> None:
    """A proxy's login page, say."""
    with pytest.raises(ArkorError, match=r"^http://example.com/v1/me did not answer with a JSON object"):
        wire.json_object(_Answer(body))


@pytest.mark.parametrize("value", ["2026-01-31T09:30:00.000Z", "2026-01-31T10:30:00+01:00", "2026-01-31T09:30:00"])
def test_a_time_is_read(value: str) -> None:
    """With the wire's sign for UTC, on every Python; without a zone it is UTC too."""
    assert wire.moment(value) == datetime(2026, 1, 31, 9, 30, tzinfo=timezone.utc)


@pytest.mark.parametrize("value", [None, "", "soon", 3, {}, "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_counts_as_absent(value: object) -> None:
    """Nothing is raised."""
    assert wire.moment(value) is None


@given(JSON)
def test_what_was_made_finite_is_json(value: Any) -> None:
    """NaN and the infinities become null at any depth; everything else stays as it is."""
    text = json.dumps(wire.finite(value), allow_nan=False)
    assert wire.finite(json.loads(text)) == json.loads(text)


def test_numbers_that_json_cannot_hold_become_null() -> None:
    """In lists, tuples and objects alike."""
    value = {"loss": float("nan"), "rates": (1.5, float("inf")), "deep": [{"x": -float("inf"), "y": "NaN"}]}
    assert wire.finite(value) == {"loss": None, "rates": [1.5, None], "deep": [{"x": None, "y": "NaN"}]}
