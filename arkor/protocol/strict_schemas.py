"""What ``strict: true`` asks of a JSON schema.

Source: OpenAI's documentation of structured outputs: each object has ``additionalProperties: false``, and each of its
properties is required. So an answer has exactly the fields that the schema names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from arkor.text import one_line

_DATA_KEYWORDS = frozenset({"const", "default", "enum", "examples"})
_NAMED_SCHEMAS = frozenset({"properties", "$defs", "definitions"})


def strict_fault(schema: Any, place: str = "schema") -> str | None:
    """Return in a clause what is wrong with the first object that is not strict; None if all are.

    Args:
        schema: a JSON schema.
        place: what to call it.

    Example:
        ``strict_fault({"type": "string"}) is None``
    """
    for inner, where in _schemas(schema, place):
        if not _is_object(inner):
            continue
        if inner.get("additionalProperties") is not False:
            return f"strict: true needs additionalProperties: false on every object; {one_line(where)} has not"
        required, properties = inner.get("required"), inner.get("properties")
        listed = required if isinstance(required, list) else []
        for name in properties if isinstance(properties, Mapping) else ():
            if name not in listed:
                return f"strict: true needs every property in required; {one_line(f'{where} lacks {name}')}"
    return None


def _schemas(schema: Any, place: str) -> Iterator[tuple[Mapping[str, Any], str]]:
    """Yield a schema and those inside it, each with its place."""
    if isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from _schemas(item, f"{place}[{number}]")
    if not isinstance(schema, Mapping):
        return
    yield schema, place
    for name, item in schema.items():
        if name in _NAMED_SCHEMAS and isinstance(item, Mapping):
            for key, value in item.items():  # names of the user's, not keywords
                yield from _schemas(value, f"{place}.{name}.{key}")
        elif name not in _DATA_KEYWORDS:
            yield from _schemas(item, f"{place}.{name}")


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema
