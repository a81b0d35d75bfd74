"""What values of settings must be: checks that attrs runs, each a test and its words for an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs

from arkor.errors import ConfigError
from arkor.protocol.json_rules import json_problem
from arkor.text import short_repr

Json: TypeAlias = bool | float | str | Sequence[Any] | Mapping[str, Any]

MAX_NAME_CHARS = 200
MAX_TEXT_CHARS = 2000
MAX_MAPPING_CHARS = 10_000  # as JSON


@attrs.frozen
class Check:
    """What a value must be, as a test and in words: a validator of attrs, to which None is a value that was not given.

    Raises:
        ConfigError: when called with another value; it names the field.
    """

    accepts: Callable[[Any], bool]
    words: str

    def __call__(self, _: object, field: attrs.Attribute[Any], value: Any) -> None:
        """Check a value."""
        if value is not None and not self.accepts(value):
            # A mapping may hold a data set's token.
            seen = "" if isinstance(value, Mapping) else f", not {short_repr(value)}"
            raise ConfigError(field.name, f"must be {self.words}{seen}")


def whole(minimum: int, maximum: int) -> Check:
    """Return the check for a whole number of at least ``minimum`` and at most ``maximum``."""

    def accepts(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and minimum <= value <= maximum

    return Check(accepts, f"a whole number, {minimum} to {maximum}")


def real(minimum: int, maximum: int, *, above: bool = False) -> Check:
    """Return the check for a number of at least (or ``above``) ``minimum`` and at most ``maximum``."""

    def accepts(value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return is_number and (value > minimum if above else value >= minimum) and value <= maximum

    return Check(accepts, f"a number {'above' if above else 'of at least'} {minimum}, at most {maximum}")


def text(longest: int) -> Check:
    """Return the check for a text of 1 to ``longest`` characters, not all of them blanks."""

    def accepts(value: Any) -> bool:
        is_text = isinstance(value, str) and bool(value.strip()) and len(value) <= longest
        return is_text and json_problem([value]) is None

    return Check(accepts, f"a text of 1 to {longest} characters")


def one_of(*values: Any) -> Check:
    """Return the check for one of some values."""
    words = ", ".join(str(value) for value in values)
    return Check(
        lambda value: any(type(value) is type(known) and value == known for known in values), f"one of {words}"
    )


def _is_short_json(value: Any) -> bool:
    if json_problem(value) is not None:
        return False
    try:
        plain = dict(value) if isinstance(value, Mapping) else value
        return len(json.dumps(plain, allow_nan=False)) <= MAX_MAPPING_CHARS
    except (TypeError, ValueError):  # it holds what JSON cannot hold
        return False


def _is_short_mapping(value: Any) -> bool:
    return isinstance(value, Mapping) and _is_short_json(value)


FLAG = Check(lambda value: isinstance(value, bool), "True or False")
NAME = text(MAX_NAME_CHARS)
TEXT = text(MAX_TEXT_CHARS)
SHARE = real(0, 1)
JSON = Check(_is_short_json, f"a JSON value of at most {MAX_MAPPING_CHARS} characters")
MAPPING = Check(_is_short_mapping, f"a mapping of at most {MAX_MAPPING_CHARS} characters as JSON")
