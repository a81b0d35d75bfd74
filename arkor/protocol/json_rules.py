"""What a JSON body may hold beyond its own syntax: not too many levels, and no half characters.

Parsers, databases and tokenizers of other programs refuse both, each in its own words. So a client checks a body before
it sends it, and the self-hosted backend checks it again.

Protocol: docs/protocol.md, "Addressing a backend".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from arkor.errors import ConfigError
from arkor.protocol import wire
from arkor.text import one_line

MAX_DEPTH = 100
HALF_CHARACTER = "holds half a character (a lone surrogate)"
LONG_NUMBER = "holds a number of thousands of digits"
TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"

_LONGEST_PLACE = 100
# The place of what surrounds it, and the last step. As texts, the places of a body could be far larger than the body.
_Place: TypeAlias = "tuple[_Place, Any] | None"
_HALF = re.compile("[\ud800-\udfff]")


class JsonError(ValueError):
    """A text that is no JSON, or JSON that cannot travel.

    Attributes:
        place: where, such as ``messages[2].content``; empty for the whole value.
        reason: what is wrong there, as the end of a sentence.
    """

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = one_line(place, _LONGEST_PLACE)
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}" if self.place else self.reason


def read_json(text: str | bytes) -> Any:
    """Return the value that a JSON text stands for.

    Raises:
        JsonError: it is no JSON, or breaks a rule.
    """
    try:
        value = json.loads(text if isinstance(text, str) else text.decode())
    except RecursionError:
        raise JsonError("", TOO_DEEP) from None
    except json.JSONDecodeError as exc:
        raise JsonError("", f"is not JSON: {exc.msg} (character {exc.pos + 1})") from None
    except UnicodeDecodeError:
        raise JsonError("", "is not JSON: it is not UTF-8") from None
    except ValueError:
        raise JsonError("", LONG_NUMBER) from None
    check_json(value)
    return value


def check_json(value: Any) -> None:
    """Check that a JSON value can travel. Raises JsonError where it cannot."""
    problem = json_problem(value)
    if problem is not None:
        raise JsonError(*problem)


def check_sendable(body: Any) -> None:
    """Check a body before it is sent.

    Raises:
        ConfigError: it cannot travel; ``field`` is the name at its top.
    """
    try:
        check_json(body)
    except JsonError as exc:
        top = _top_of(exc.place)
        message = exc.reason if exc.place == top else f"{exc.place} {exc.reason}"
        raise ConfigError(wire.python_name(top) or "body", message) from None


def json_problem(value: Any) -> tuple[str, str] | None:
    r"""Say why a JSON value cannot travel.

    Args:
        value: what JSON has, at any depth; tuples count as lists. Anything else is passed over.

    Returns:
        (the place, such as ``messages[2].content``; the reason), or None for a good value. The place is empty for the
        value itself.

    Example:
        ``json_problem({"name": "\ud83d"})`` is ``("name", "holds half a character (a lone surrogate)")``.
    """
    if isinstance(value, str) and _HALF.search(value):
        return "", HALF_CHARACTER
    level: list[tuple[_Place, Any]] = [(None, value)]
    for _ in range(MAX_DEPTH):
        deeper: list[tuple[_Place, Any]] = []
        for place, item in level:
            for key, child in _children(item):
                if isinstance(child, str):
                    if _HALF.search(child):
                        return _written((place, key)), HALF_CHARACTER
                elif isinstance(child, (dict, list, tuple, Mapping)):
                    deeper.append(((place, key), child))
            if isinstance(item, Mapping) and any(_HALF.search(key) for key in item if isinstance(key, str)):
                return _written(place), f"has a key that {HALF_CHARACTER}"
        if not deeper:
            return None
        level = deeper
    return _top_of(_written(level[0][0])), TOO_DEEP


def _top_of(place: str) -> str:
    return re.split(r"[.\[]", place, maxsplit=1)[0]


def _children(item: Any) -> Any:
    if isinstance(item, Mapping):
        return item.items()
    return enumerate(item) if isinstance(item, (list, tuple)) else ()


def _written(place: _Place) -> str:
    """Return a place as one would write it in Python."""
    steps: list[str] = []
    while place is not None:
        place, key = place
        steps.append(f"[{key}]" if isinstance(key, int) else f".{key}")
    return "".join(reversed(steps)).removeprefix(".")
