"""The one place where Python's snake_case meets the wire's camelCase.

A class that travels is a frozen attrs class with an ``extra`` field. Its fields have Python names; the wire names
follow from them, but for the few in ``_WIRE_NAMES``. What the other side sends beyond the known fields is kept in
``extra`` and sent back unchanged.

Protocol: docs/protocol.md, introduction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Protocol

import attrs

from arkor.errors import ArkorError, ConnectionFailed

_WIRE_NAMES = {"load_in_4bit": "loadIn4bit"}
_PYTHON_NAMES = {wire: name for name, wire in _WIRE_NAMES.items()}


def wire_name(name: str) -> str:
    """Return the camelCase wire name of a Python name: ``max_steps`` is ``maxSteps``."""
    if name in _WIRE_NAMES:
        return _WIRE_NAMES[name]
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def python_name(name: str) -> str:
    """Return the snake_case Python name of a wire name: ``maxSteps`` is ``max_steps``."""
    if name in _PYTHON_NAMES:
        return _PYTHON_NAMES[name]
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name)


def to_wire(value: Any) -> dict[str, Any]:
    """Return an attrs value as the JSON object that travels: no nulls, unknown fields as they came.

    Args:
        value: an instance of a frozen attrs class.
    """
    body: dict[str, Any] = {}
    for field in attrs.fields(type(value)):
        item = getattr(value, field.name)
        if field.name != "extra" and item is not None:
            body[wire_name(field.name)] = to_wire(item) if attrs.has(type(item)) else item
    body.update(getattr(value, "extra", {}))
    return body


def known_fields(cls: type, body: Mapping[str, Any]) -> dict[str, Any]:
    """Split a JSON object into keyword arguments for an attrs class, unknown fields gathered in ``extra``.

    A null stands for an absent field. Types are not checked here: what a field may hold is its class's business.

    Args:
        cls: the attrs class.
        body: the object as it came off the wire.
    """
    known = {wire_name(field.name): field.name for field in attrs.fields(cls) if field.name != "extra"}
    arguments = {known[key]: value for key, value in body.items() if key in known and value is not None}
    arguments["extra"] = {key: value for key, value in body.items() if key not in known}
    return arguments


def text(value: Any) -> str:
    """Return a wire value as text: strings as they are, absent ones empty, numbers and the like spelt out."""
    if isinstance(value, str):
        return value
    return "" if value is None else str(value)


def optional_text(value: Any) -> str | None:
    """Return a wire value as text, or None where it is absent."""
    return None if value is None else text(value)


def mapping(value: Any) -> dict[str, Any]:
    """Return a wire value as an object; anything else counts as empty."""
    return dict(value) if isinstance(value, Mapping) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects of a list on the wire; what is none is passed over."""
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def number(value: Any) -> float | None:
    """Return a wire value as a float, or None where it is absent, no number, or too large."""
    if value is None or type(value) is float:  # nearly always
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def whole_number(value: Any) -> int | None:
    """Return a wire value as an int, or None where it is absent or not whole."""
    if type(value) is int:  # nearly always
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def finite(value: Any) -> Any:
    """Return a JSON value with null for each number that JSON cannot hold: NaN and the infinities."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in value.items()}
    return [finite(item) for item in value] if isinstance(value, (list, tuple)) else value


def moment(value: Any) -> datetime | None:
    """Return a time on the wire, in UTC where it names no zone; None where it is absent or none."""
    try:
        time = datetime.fromisoformat(text(value).replace("Z", "+00:00"))
    except ValueError:
        return None
    return time if time.tzinfo else time.replace(tzinfo=timezone.utc)


class _JsonAnswer(Protocol):
    url: str

    @property
    def content(self) -> bytes:
        """The body as it came."""

    def json(self) -> Any:
        """Return the parsed body, or raise ValueError."""


def json_object(response: _JsonAnswer) -> dict[str, Any]:
    """Return the JSON object of an answer.

    Raises:
        ConnectionFailed: there is no body: the answer was cut before it began.
        ArkorError: the body is something else, as a proxy's login page is.
    """
    where = response.url.partition("?")[0]
    if not response.content:
        raise ConnectionFailed(f"The answer of {where} was cut.", sent=True)
    try:
        body = response.json()
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise ArkorError(f"{where} did not answer with a JSON object. Is it an Arkor backend?")
    return body


def content_text(content: Any) -> str:
    """Return the content of a message as one text."""
    if isinstance(content, list):
        return "".join(text(part.get("text")) for part in objects(content))
    return text(content)
