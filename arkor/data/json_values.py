"""Values of Python, numpy and pandas as what JSON has."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_MISSING = frozenset({"NAType", "NaTType"})  # pandas has three nulls; these two are equal to nothing


class Unfit(Exception):
    """A value that JSON has nothing for.

    Attributes:
        steps: the keys and places that lead to it, the last first.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.steps: list[str] = []

    def __str__(self) -> str:
        where = "".join(reversed(self.steps)).removeprefix(".")
        return f"{where}: {self.args[0]}" if where else str(self.args[0])


def plain_value(value: Any, *, is_table: bool) -> Any:
    """Return a value of what JSON has; see ``plain_inside``, which also refuses infinity."""
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        return _plain_mapping(value, is_table=is_table)
    if isinstance(value, (list, tuple)):
        return [
            plain_inside(f"[{place}]", item, is_table=is_table, may_be_nan=False) for place, item in enumerate(value)
        ]
    if type(value).__name__ in _MISSING:
        return None
    as_python = value.tolist() if hasattr(value, "tolist") else value  # numpy's scalars and arrays
    if type(as_python) is type(value):
        raise Unfit(f"is of type {type(value).__name__}, which JSON does not have: leave it out, or make it a text")
    return plain_value(as_python, is_table=is_table)


def _plain_mapping(value: Mapping[Any, Any], *, is_table: bool) -> dict[str, Any]:
    check_keys(value)
    plain = {}
    for key, item in value.items():
        inside = plain_inside(f".{key}", item, is_table=is_table, may_be_nan=is_table)
        if not (is_table and is_missing(inside)):
            plain[key] = inside
    return plain


def check_keys(row: Mapping[Any, Any]) -> None:
    """Raise Unfit if a key is no text."""
    for key in row:
        if not isinstance(key, str):
            raise Unfit(f"has the key {key!r}, which is no text")


def plain_inside(step: str, value: Any, *, is_table: bool, may_be_nan: bool) -> Any:
    """Return a value of what JSON has, of a place that an error names.

    Args:
        step: the key or place of the value, as it is written behind what holds it.
        value: the value.
        is_table: whether null and NaN stand for absent keys in mappings.
        may_be_nan: whether NaN may stand for an absent key here.

    Raises:
        Unfit: JSON has no such value.
    """
    try:
        plain = plain_value(value, is_table=is_table)
        _check_finite(plain, may_be_nan=may_be_nan)
    except Unfit as exc:
        exc.steps.append(step)
        raise
    return plain


def _check_finite(value: Any, *, may_be_nan: bool) -> None:
    if isinstance(value, float) and not math.isfinite(value) and not (may_be_nan and math.isnan(value)):
        raise Unfit(f"is {value}, a number that JSON does not have")


def is_missing(value: Any) -> bool:
    """Say whether a plain value stands for an absent key: it is null or NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))
