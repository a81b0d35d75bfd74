"""What ``strict: true`` asks of a JSON schema."""

from __future__ import annotations

from typing import Any

import pytest

from arkor.protocol.strict_schemas import strict_fault

OPEN: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
CLOSED: dict[str, Any] = {**OPEN, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "place"),
    [
        ({"type": "object"}, "schema"),
        ({**CLOSED, "properties": {"a": OPEN}}, "schema.properties.a"),
        ({"anyOf": [CLOSED, OPEN]}, "schema.anyOf[1]"),
        ({**CLOSED, "$defs": {"x": {"type": ["object", "null"]}}}, "schema.$defs.x"),
        ({"type": "array", "items": OPEN}, "schema.items"),
        ({"properties": {}, "additionalProperties": True}, "schema"),
    ],
)
def test_the_first_object_that_takes_more_is_named(schema: dict[str, Any], place: str) -> None:
    """By its path."""
    assert strict_fault(schema) == f"strict: true needs additionalProperties: false on every object; {place} has not"


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({**CLOSED, "required": []}, "schema lacks a"),
        ({**CLOSED, "required": "a"}, "schema lacks a"),
        ({"type": "object", "properties": {"b": {}}, "additionalProperties": False}, "schema lacks b"),
        ({**CLOSED, "properties": {"a": {**CLOSED, "required": ["b"]}}}, "schema.properties.a lacks a"),
    ],
)
def test_a_property_that_may_be_absent_is_named(schema: dict[str, Any], says: str) -> None:
    """An answer without it would pass."""
    assert strict_fault(schema) == f"strict: true needs every property in required; {says}"


@pytest.mark.parametrize(
    "schema",
    [
        CLOSED,
        {"type": "string"},
        {"properties": True, "additionalProperties": False},  # no schema: that is another check's business
        {**CLOSED, "properties": {"a": {"enum": [{"properties": {}}]}}},  # values are no schemas
        {
            **CLOSED,
            "properties": {"type": {"const": {"type": "object"}}, "properties": {"type": "string"}},
            "required": ["properties", "type"],
        },
    ],
)
def test_a_strict_schema_is_strict(schema: dict[str, Any]) -> None:
    """Data, and properties that are called like keywords, do not mislead."""
    assert strict_fault(schema) is None
