"""What a JSON body may hold, and how a fault in it is named."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given

from arkor.errors import ConfigError
from arkor.protocol.json_rules import (
    HALF_CHARACTER,
    MAX_DEPTH,
    TOO_DEEP,
    JsonError,
    check_json,
    check_sendable,
    read_json,
)
from tests.unit.protocol.test_wire import JSON

HALF = "\ud83d"
DEEP = json.loads("[" * 101 + "]" * 101)


@given(JSON)
def test_what_json_has_is_read_as_it_is(value: Any) -> None:
    """Shallow values of whole characters; hypothesis makes no half ones."""
    text = json.dumps(value)
    assert json.dumps(read_json(text)) == json.dumps(read_json(text.encode())) == text


@pytest.mark.parametrize(
    ("value", "place", "reason"),
    [
        ({"name": HALF}, "name", HALF_CHARACTER),
        ({"messages": [{}, {"content": [{"text": f"a{HALF}"}]}]}, "messages[1].content[0].text", HALF_CHARACTER),
        ({"a": [["b", HALF]]}, "a[0][1]", HALF_CHARACTER),
        ({"a": {"b": {HALF: 1}}}, "a.b", f"has a key that {HALF_CHARACTER}"),
        ({HALF: 1}, "", f"has a key that {HALF_CHARACTER}"),
        ({"a": {"b": DEEP}}, "a", TOO_DEEP),
        (DEEP, "", TOO_DEEP),
        (HALF, "", HALF_CHARACTER),
    ],
)
def test_the_place_of_a_fault_is_named(value: Any, place: str, reason: str) -> None:
    """As one would write it in Python."""
    with pytest.raises(JsonError) as raised:
        read_json(json.dumps(value))
    assert (raised.value.place, raised.value.reason) == (place, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is not JSON: Expecting value (character 1)"),
        ('{"a": }', "is not JSON: Expecting value (character 7)"),
        (b"\xff", "is not JSON: it is not UTF-8"),
        ("9" * 5000, "holds a number of thousands of digits"),
        ("[" * 100_000, TOO_DEEP),
    ],
)
def test_a_text_that_is_no_json_says_why(text: str | bytes, reason: str) -> None:
    """Each in one line."""
    with pytest.raises(JsonError) as raised:
        read_json(text)
    assert str(raised.value) == reason


def test_as_many_levels_as_there_may_be_pass() -> None:
    """And one more does not."""
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert json.dumps(read_json(text)) == text
    with pytest.raises(JsonError, match="more than 100 levels"):
        read_json(f"[{text}]")


def test_a_body_that_cannot_be_sent_is_an_error_of_its_setting() -> None:
    """By the setting's Python name; a value that contains itself too."""
    endless: dict[str, Any] = {}
    endless["again"] = endless
    faults = [
        ({"responseFormat": endless}, f"response_format: {TOO_DEEP}"),
        ({"messages": ({"content": HALF},)}, f"messages: messages[0].content {HALF_CHARACTER}"),
        ({"name": HALF}, f"name: {HALF_CHARACTER}"),
        ([HALF], f"body: [0] {HALF_CHARACTER}"),
    ]
    for body, message in faults:
        with pytest.raises(ConfigError) as raised:
            check_sendable(body)
        assert str(raised.value) == message


def test_places_take_no_more_memory_than_the_body() -> None:
    """A long key with many things below it is not written once for each of them."""
    body = {"x" * 1_000_000: [[]] * 100_000, "y": [[HALF]]}
    tracemalloc.start()
    try:
        with pytest.raises(JsonError, match=r"^y\[0\]\[0\]: "):
            check_json(body)
        assert tracemalloc.get_traced_memory()[1] < 100 * 2**20
    finally:
        tracemalloc.stop()
