"""What an answer says, out of its text: a number, a label, a JSON object, calls."""

from __future__ import annotations

import contextlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from arkor.protocol.json_rules import JsonError, read_json

_FENCE = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*\Z", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?|[-+]?\.\d+")
_AROUND_NUMBER = re.compile(r"[\s$€£¥%]*")
_TOLERANCE = 1e-6
_LONGEST_LABEL = 40
_QUOTES = "\"'`\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}«»"


def collapsed(text: str) -> str:
    """Return a text with single spaces for white space, in Unicode's composed form."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def label_of(text: str) -> str:
    """Return a text as a label: in lower case, without quotes around it and without a full stop."""
    return collapsed(text).strip(_QUOTES).rstrip(".!").strip(_QUOTES).strip().casefold()


def are_labels(texts: Sequence[str]) -> bool:
    """Say whether texts are a few short ones that repeat."""
    counts = Counter(map(label_of, texts))
    are_short = all(label and len(label) <= _LONGEST_LABEL and "\n" not in label for label in counts)
    return are_short and 2 <= len(counts) <= max(2, len(texts) / 3)


def is_number(text: str) -> bool:
    """Say whether a text is one number, but for a unit of money or a percent sign."""
    return _AROUND_NUMBER.sub("", _NUMBER.sub("", text, count=1)) == "" and last_number(text) is not None


def last_number(text: str) -> float | None:
    """Return the last number in a text; None if there is none."""
    found = _NUMBER.findall(text)
    number = float(found[-1].replace(",", "")) if found else math.nan
    return number if math.isfinite(number) else None


def is_close(expected: float, found: float) -> bool:
    """Say whether two numbers are the same but for rounding."""
    return math.isclose(expected, found, rel_tol=_TOLERANCE)


def json_object(text: str) -> dict[str, Any] | None:
    """Return the JSON object that a text is, also between the marks of a code block; None if it is none."""
    fenced = _FENCE.match(text)
    try:
        value = read_json(fenced[1] if fenced else text)
    except JsonError:
        return None
    return value if isinstance(value, dict) else None


def right_fields(expected: Mapping[str, Any], found: Mapping[str, Any]) -> set[str]:
    """Return the expected fields that have the right value."""
    return {name for name, value in expected.items() if name in found and _is_same(value, found[name])}


def plain_calls(calls: Iterable[Mapping[str, Any]]) -> list[tuple[str, Any]]:
    """Return calls as names and arguments; a text that is no JSON stays as it is."""
    found = []
    for call in calls:
        function = call.get("function")
        function = function if isinstance(function, Mapping) else {}
        arguments = function.get("arguments")
        if isinstance(arguments, str):
            with contextlib.suppress(ValueError):
                arguments = json.loads(arguments or "{}")
        found.append((str(function.get("name")), arguments))
    return found


def _is_same(expected: Any, found: Any) -> bool:
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, str) and isinstance(found, str):
        return collapsed(expected) == collapsed(found)
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        return expected.keys() == found.keys() and all(_is_same(expected[key], found[key]) for key in expected)
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(_is_same, expected, found))
    return bool(expected == found)
